"""From files to an installed model that runs, at toy size in the published layouts."""

import json
import os

import pytest
import torch
from PIL import Image
from safetensors.torch import save

from coser_cli import config as numbers
from coser_cli.weights.manifest import load_manifest
from coser_cli.weights.store import WEIGHTS_FILE, has_part, read_model_config, read_part
from tests.cli.test_download_weights import tree
from tests.file_host import answer, safetensors, serve, sha256
from tests.ran import run_here
from tests.weights.conftest import TOY
from tests.weights.published import (
    CALLBACK,
    ODD_NAME,
    SURPLUS,
    importable,
    save_from_training,
    save_lightning,
)

FREE = ("--accept-license", "free")
ALL = (*FREE, "--accept-license", "s-lab")
FILES = ("coser", "cfw", "qformer", "sd21-base", "openclip-h14", "sd-turbo")
PICKLED = ("coser", "cfw")
VARIANTS = """
schema = 1
[license.free]
name = "Free"
url = "https://example.org/free"
commercial = "allowed"
[license.s-lab]
name = "S-Lab"
url = "https://example.org/s-lab"
commercial = "not allowed"
[variant.sd21]
description = "Toy"
folder = "sd21"
config = "toy"
files = ["coser", "cfw"]
optional = ["cfw"]
fallback = ["qformer", "sd21-base", "openclip-h14"]
[variant.turbo]
description = "Toy on another base"
folder = "turbo"
config = "toy"
files = ["coser", "cfw"]
optional = ["cfw"]
fallback = ["qformer", "openclip-h14"]
base = "sd-turbo"
[variant.turbo.defaults]
steps = 1
[set.default]
files = ["coser", "cfw"]
variant = "sd21"
[set.turbo]
files = ["coser", "cfw", "sd-turbo"]
variant = "turbo"
"""


@pytest.fixture
def published(all_tensors, tmp_path):
    """Bytes of the published files by id."""
    found = {}
    for name in FILES:
        if name in PICKLED:
            path = save_lightning(tmp_path / "published", all_tensors[name])
            found[name] = path.read_bytes()
        else:
            found[name] = save({key: t.contiguous() for key, t in all_tensors[name].items()})
    return found


@pytest.fixture
def manifest(host, published, tmp_path):
    text = VARIANTS
    for name, data in published.items():
        pickled = name in PICKLED
        form = "lightning-ckpt" if pickled else "safetensors"
        text += f"""
[file.{name}]
dest = "originals/{name}"
license = ["{"s-lab" if name == "cfw" else "free"}"]
size = {len(data)}
sha256 = "{sha256(data)}"
format = "{form}"
{f'safe_globals = ["{CALLBACK}"]' if pickled else ""}
[[file.{name}.source]]
type = "https"
url = "{host.put(f"/{name}", data)}"
"""
    path = tmp_path / "manifest.toml"
    path.write_text(text)
    return path


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "weights"


@pytest.fixture
def coser(host, monkeypatch, capsys, tmp_path, dest):
    monkeypatch.setitem(numbers.VARIANTS, "toy", TOY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COSER_WEIGHTS_DIR", str(dest))

    return lambda *words: run_here(capsys, *words)


@pytest.fixture
def get(coser, manifest):
    return lambda *words: coser("download-weights", "--manifest", manifest, *words)


def asked(host):
    return [each.path for each in host.asked]


def test_download_install_and_enlarge(get, coser, host, dest, tmp_path):
    ran = get(*ALL, "--json")
    assert ran.code == 0
    assert [(each["name"], each["status"]) for each in ran.records[:-1]] == [
        ("coser", "downloaded"),
        ("cfw", "downloaded"),
        ("sd21", "installed"),
    ]
    assert asked(host) == ["/coser", "/cfw"]  # the checkpoint holds everything else
    assert not (dest / "originals").exists()
    assert has_part(dest / "sd21", "cfw")
    Image.new("RGB", (12, 8), "teal").save(tmp_path / "photo.png")
    ran = coser("upscale", "photo.png", "-s", 2, "--model", "sd21", "--device", "cpu")
    assert ran.code == 0, ran.err
    with Image.open(tmp_path / "photo_2x.png") as picture:
        assert picture.size == (24, 16)


def test_only_what_is_still_there_is_printed(get, dest):
    """Published files are deleted once they have been converted."""
    assert get(*ALL).out == f"{dest / 'sd21'}\n"
    ran = get()
    assert ran.out == f"{dest / 'sd21'}\n"
    assert "there is nothing to do" in ran.err


def test_a_model_stands_for_its_set(get, host, dest):
    plan = get("sd21", "--dry-run", "--json").records[0]
    assert (plan["fetch"], plan["install"]) == (["coser", "cfw"], ["sd21"])
    assert get("sd21", *ALL).out == f"{dest / 'sd21'}\n"
    ran = get("sd22")
    assert ran.code == 2
    assert "known are sd21, turbo, default, coser" in ran.err


def test_again_asks_nobody(get, host, dest):
    get(*ALL)
    before = tree(dest)
    ran = get("--json")
    assert ran.code == 0
    assert {each["status"] for each in ran.records[:-1]} == {"present"}
    assert len(host.asked) == 2
    assert tree(dest) == before


def test_without_cfw_and_then_with_it(get, host, dest):
    ran = get(*FREE)
    assert ran.code == 0
    assert "cfw is left out" in ran.err
    assert "--accept-license s-lab" in ran.err
    assert asked(host) == ["/coser"]
    folder = dest / "sd21"
    assert not has_part(folder, "cfw")
    unet = (folder / "unet" / WEIGHTS_FILE).read_bytes()
    ran = get(*ALL)
    assert ran.code == 0
    assert asked(host) == ["/coser", "/cfw"]  # the other file is not fetched again
    assert has_part(folder, "cfw")
    assert (folder / "unet" / WEIGHTS_FILE).read_bytes() == unet
    assert get("default", "--verify").code == 0
    lock = json.loads((folder / "coser.lock.json").read_text())
    assert set(lock["origins"]) == {"coser", "cfw"}
    assert get("--json").records[-1]["done"] == 3
    assert len(host.asked) == 2


def test_adding_cfw_gives_what_installing_both_gives(get, dest, tmp_path):
    get(*FREE)
    get(*ALL)
    both = tmp_path / "both"
    get(*ALL, "--dest", both)
    for part in ("cfw", "vae", "unet"):
        one, other = read_part(dest / "sd21", part), read_part(both / "sd21", part)
        assert one.keys() == other.keys()
        assert all((one[key] == other[key]).all() for key in one)


def test_wrong_cfw_leaves_the_model_alone(get, dest, published, tmp_path):
    get(*FREE)
    before = tree(dest)
    own = tmp_path / "own"
    own.write_bytes(published["qformer"])
    assert get("--import", own, "--as", "cfw").code == 3
    assert tree(dest) == before
    assert get("--verify").code == 0


def test_import(get, host, dest, published, tmp_path):
    for name in ("coser", "cfw"):
        (tmp_path / name).write_bytes(published[name])
    words = [
        word for name in ("coser", "cfw") for word in ("--import", tmp_path / name, "--as", name)
    ]
    ran = get(*words, "--offline", "--json")
    assert ran.code == 0
    assert ran.of("sd21")["status"] == "installed"
    assert has_part(dest / "sd21", "cfw")
    assert host.asked == []
    assert (tmp_path / "coser").read_bytes() == published["coser"]
    assert not (dest / "originals").exists()


def test_import_one_after_the_other(get, host, dest, published, tmp_path):
    """CFW first: it waits for the checkpoint. A turbo base afterwards: its checkpoint is gone."""
    for name in FILES:
        (tmp_path / name).write_bytes(published[name])
    ran = get("--import", tmp_path / "cfw", "--as", "cfw")
    assert ran.code == 0
    assert "sd21 is not installed yet: it needs coser" in ran.err
    assert get("--import", tmp_path / "coser", "--as", "coser").code == 0
    assert has_part(dest / "sd21", "cfw")
    ran = get("--import", tmp_path / "sd-turbo", "--as", "sd-turbo", "--json")
    assert ran.code == 0
    assert ran.of("turbo")["missing"] == ["coser"]
    assert host.asked == []


def test_float16(get, dest):
    get(*ALL, "--dtype", "float16")
    assert str(read_part(dest / "sd21", "unet")["conv_in.weight"].dtype) == "torch.float16"


def test_keep_originals(get, dest, published):
    get(*ALL, "--keep-originals")
    assert (dest / "originals/coser").read_bytes() == published["coser"]
    assert get("--verify", "--json").of("coser")["status"] == "verified"


def test_turbo_beside_the_default(get, dest, host):
    ran = get("default", "turbo", *ALL)
    assert ran.code == 0
    assert sorted(asked(host)) == ["/cfw", "/coser", "/sd-turbo"]
    assert read_model_config(dest / "turbo").defaults.steps == 1
    one, other = (read_part(dest / name, "unet")["conv_in.weight"] for name in ("sd21", "turbo"))
    assert not (one == other).all()
    assert not (dest / "originals").exists()


@pytest.fixture
def poor(published, all_tensors, host, manifest, tmp_path):
    """A checkpoint without CLIP and Q-Former; the fallbacks hold them."""
    kept = {
        key: tensor
        for key, tensor in all_tensors["coser"].items()
        if not key.startswith(("cond_stage_model.", "global_adapter."))
    }
    data = save_lightning(tmp_path / "poor", kept).read_bytes()
    text = manifest.read_text().replace(sha256(published["coser"]), sha256(data))
    manifest.write_text(
        text.replace(f"size = {len(published['coser'])}\n", f"size = {len(data)}\n")
    )
    host.put("/coser", data)
    return data


def test_what_the_checkpoint_lacks_is_fetched(get, host, dest, poor):
    ran = get(*ALL)
    assert ran.code == 0, ran.err
    assert "sd21 also needs qformer" in ran.err
    assert asked(host)[:3] == ["/coser", "/cfw", "/qformer"]
    assert "/sd21-base" not in asked(host)
    assert (dest / "sd21" / "model.json").exists()


def test_what_the_checkpoint_lacks_needs_its_own_licence(get, host, dest, poor, manifest):
    text = manifest.read_text().replace(
        'dest = "originals/qformer"\nlicense = ["free"]',
        'dest = "originals/qformer"\nlicense = ["s-lab"]',
    )
    manifest.write_text(text)
    ran = get(*FREE)
    assert ran.code == 2
    assert "--accept-license s-lab" in ran.err
    assert (dest / "originals/coser").exists()  # fetched, and not lost
    assert get(*ALL).code == 0
    assert asked(host).count("/coser") == 1


def test_import_of_a_checkpoint_that_lacks_something(get, host, dest, poor, published, tmp_path):
    (tmp_path / "coser").write_bytes(poor)
    ran = get("--import", tmp_path / "coser", "--as", "coser", "--json")
    assert ran.code == 0
    assert ran.of("sd21")["status"] == "incomplete"
    assert ran.of("sd21")["missing"][0] == "qformer"
    for name in ran.of("sd21")["missing"]:
        (tmp_path / name).write_bytes(published[name])
        ran = get("--import", tmp_path / name, "--as", name, "--json")
    assert (dest / "sd21" / "model.json").exists()
    assert host.asked == []


def test_checkpoint_of_another_model(get, host, dest, published, manifest):
    """Its hash is what the manifest says, and still it is not what it should be."""
    get(*ALL)
    before = tree(dest / "sd21")
    other = published["sd21-base"]
    text = manifest.read_text().replace(sha256(published["coser"]), sha256(other))
    text = text.replace(f"size = {len(published['coser'])}\n", f"size = {len(other)}\n")
    manifest.write_text(text)
    host.put("/coser", other)
    ran = get(*ALL)
    assert ran.code == 3
    assert "originals/coser" in ran.err
    assert tree(dest / "sd21") == before


def test_verify_finds_a_damaged_model(get, dest):
    get(*ALL)
    part = dest / "sd21/vae/diffusion_pytorch_model.safetensors"
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    ran = get("--verify")
    assert ran.code == 3
    assert "vae" in ran.err


def test_failed_download_leaves_the_rest(get, host, dest):
    host.then("/coser", answer(404))
    ran = get(*ALL, "--json")
    assert ran.code == 3
    assert ran.of("coser")["status"] == "failed"
    assert ran.of("cfw")["status"] == "downloaded"
    assert (ran.of("sd21")["status"], ran.of("sd21")["missing"]) == ("incomplete", ["coser"])
    assert not (dest / "sd21").exists()
    assert get(*ALL).code == 0
    assert asked(host).count("/cfw") == 1


def test_model_is_known_without_the_record_of_the_folder(get, host, dest):
    """What a model was made of lies beside it: a lost record costs no download."""
    get(*ALL)
    (dest / "weights.lock.json").unlink()
    assert get("--json").code == 0
    assert len(host.asked) == 2


def test_originals_are_kept_until_all_that_need_them_are_installed(get, dest, host):
    host.then("/sd-turbo", answer(404))
    ran = get("default", "turbo", *ALL, "--json")
    assert ran.code == 3
    assert ran.of("sd21")["status"] == "installed"
    assert ran.of("turbo")["status"] == "incomplete"
    assert (dest / "originals/coser").exists()
    assert get("turbo", *ALL).code == 0
    assert asked(host).count("/coser") == 1
    assert not (dest / "originals").exists()


def test_alternatives(get, host, dest, poor, published, manifest, all_tensors, tmp_path):
    """Another file serves in the place of the one that is asked for."""
    other = save_lightning(tmp_path / "pickled", all_tensors["openclip-h14"]).read_bytes()
    text = manifest.read_text().replace(
        'dest = "originals/openclip-h14"',
        'dest = "originals/openclip-h14"\nalternatives = ["openclip-h14-bin"]',
    )
    manifest.write_text(
        text
        + f"""
[file.openclip-h14-bin]
dest = "originals/openclip.bin"
license = ["free"]
size = {len(other)}
sha256 = "{sha256(other)}"
format = "lightning-ckpt"
safe_globals = ["{CALLBACK}"]
"""
    )
    for name, data in {"clip": other, "coser": poor, "qformer": published["qformer"]}.items():
        (tmp_path / name).write_bytes(data)
    get("--import", tmp_path / "clip", "--as", "openclip-h14-bin")
    get("--import", tmp_path / "qformer", "--as", "qformer")
    ran = get("--import", tmp_path / "coser", "--as", "coser", "--json")
    assert ran.of("sd21")["status"] == "installed", ran
    assert host.asked == []
    assert not (dest / "originals").exists()


def test_folder_in_diffusers_format(get, host, dest, manifest, tmp_path):
    """A folder is imported as its files, each of which is checked."""
    folder = tmp_path / "pipeline"
    text = (
        manifest.read_text()
        + """
[file.pipeline]
dest = "originals/pipeline"
license = ["free"]
format = "diffusers"
parts = ["unet", "vae"]
"""
    )
    for name in ("unet", "vae"):
        data = safetensors(seed=len(name))
        (folder / name).mkdir(parents=True)
        (folder / name / "x.safetensors").write_bytes(data)
        text += f"""
[file.{name}]
dest = "originals/pipeline/{name}/x.safetensors"
license = ["free"]
size = {len(data)}
sha256 = "{sha256(data)}"
format = "safetensors"
"""
    manifest.write_text(text)
    assert get("--import", folder, "--as", "pipeline").code == 0
    assert tree(dest / "originals") == ["pipeline/unet/x.safetensors", "pipeline/vae/x.safetensors"]
    (folder / "vae/x.safetensors").write_bytes(safetensors(seed=9))
    assert get("--import", folder, "--as", "pipeline", "--dest", tmp_path / "other").code == 3
    assert get("--import", folder / "vae/x.safetensors", "--as", "pipeline").code == 2


# -- files as training leaves them: nobody knows their hash, nor what else is in them --------------


@pytest.fixture
def unpinned(manifest, published):
    """The manifest, where no hash is known of the checkpoint and of CFW, and no class is named."""
    text = manifest.read_text().replace(f'safe_globals = ["{CALLBACK}"]', "")
    for name in PICKLED:
        known = f'size = {len(published[name])}\nsha256 = "{sha256(published[name])}"'
        text = text.replace(known, 'pin = "first-use"')
    manifest.write_text(text)
    return manifest


@pytest.fixture
def usb(all_tensors, tmp_path):
    """A folder with both files under names that say nothing, and a photo."""
    folder = tmp_path / "usb"
    (folder / "more").mkdir(parents=True)
    save_from_training(folder, all_tensors["coser"])
    save_from_training(folder / "more", all_tensors["cfw"], "last.ckpt")
    Image.new("RGB", (12, 8), "teal").save(folder / "photo.png")
    return folder


def enlarged(coser, folder):
    words = ["--model", "sd21", "--device", "cpu", "--steps", 2, "-o", "big.png", "--overwrite"]
    ran = coser("upscale", folder / "photo.png", "-s", 2, *words)
    assert ran.code == 0, ran.err
    with Image.open("big.png") as picture:
        assert picture.size == (24, 16)
        return picture.tobytes()


def test_files_of_training_are_imported_installed_and_run(get, coser, unpinned, usb, dest, host):
    imports = ["--import", usb / ODD_NAME, "--as", "coser"]
    ran = get(*imports, "--import", usb / "more/last.ckpt", "--as", "cfw", "--offline")
    assert ran.code == 0, ran.err
    warnings = [line for line in ran.err.splitlines() if "no network needs" in line]
    assert len(warnings) == 2  # one for each file
    assert f"{len(SURPLUS)} names" in warnings[0]
    assert "usm_sharpener" in warnings[0]
    lock = json.loads((dest / "sd21/coser.lock.json").read_text())
    assert lock["origins"]["coser"]["surplus"]["names"] == len(SURPLUS)
    assert host.asked == []
    enlarged(coser, usb)


def test_a_strict_import_refuses_them(get, unpinned, usb, dest):
    ran = get("--import", usb / ODD_NAME, "--as", "coser", "--strict")
    assert ran.code == 3
    assert "unknown names in the published weights" in ran.err
    assert "usm_sharpener.kernel" in ran.err
    assert not (dest / "sd21").exists()


def test_they_are_recognised_by_what_is_in_them(get, coser, unpinned, usb, dest, host):
    ran = get("--from-dir", usb)
    assert ran.code == 2
    assert f"{ODD_NAME}' as coser" in ran.err
    assert "last.ckpt' as cfw" in ran.err
    assert "--yes" in ran.err
    assert not dest.exists()
    ran = get("--from-dir", usb, "--yes", "--offline", "--json")
    assert ran.code == 0, ran.err
    assert f"{ODD_NAME}' (" in ran.err and "is a CoSeR checkpoint" in ran.err
    assert ran.of("sd21")["status"] == "installed"
    assert has_part(dest / "sd21", "cfw")
    assert host.asked == []
    first = enlarged(coser, usb)
    # by name and by content the same model comes out
    other = ["--import", usb / ODD_NAME, "--as", "coser", "--dest", dest.with_name("other")]
    assert get(*other, "--import", usb / "more/last.ckpt", "--as", "cfw").code == 0
    for part in ("unet", "cfw"):
        one, two = read_part(dest / "sd21", part), read_part(dest.with_name("other") / "sd21", part)
        assert all((one[key] == two[key]).all() for key in one)
    assert enlarged(coser, usb) == first


def test_somebody_at_the_terminal_is_asked(get, unpinned, usb, dest, monkeypatch):
    monkeypatch.setattr("coser_cli.cli.consent.is_interactive", lambda: True)
    answers = [True, False]
    confirm = "coser_cli.cli.consent.typer.confirm"
    monkeypatch.setattr(confirm, lambda *_, **__: answers.pop())
    assert get("--from-dir", usb, "--offline").code == 2
    assert not (dest / "sd21").exists()
    assert get("--from-dir", usb, "--offline").code == 0
    assert (dest / "sd21").exists()


def test_a_dry_run_asks_nothing(get, unpinned, usb, dest):
    ran = get("--from-dir", usb, "--dry-run")
    assert ran.code == 0
    assert "is a CoSeR checkpoint" in ran.err
    size = (usb / ODD_NAME).stat().st_size
    assert f"would import: coser, {size / 1e6:.3g} MB\n" in ran.out
    assert f"would install: sd21 in {dest / 'sd21'}\n" in ran.out
    plan = get("--from-dir", usb, "--dry-run", "--json").records[0]
    assert (plan["import"], plan["install"]) == (["coser", "cfw"], ["sd21"])
    assert plan["disk_bytes"] == size + (usb / "more/last.ckpt").stat().st_size
    assert not dest.exists()


def test_a_folder_without_any_of_them(get, tmp_path):
    (tmp_path / "empty").mkdir()
    ran = get("--from-dir", tmp_path / "empty")
    assert ran.code == 3
    assert "nothing in" in ran.err and "--import FILE --as ID" in ran.err


@pytest.mark.parametrize("wrong", ["qformer", "sd21-base", "foreign"])
def test_a_wrong_file_is_not_taken_for_the_right_one(
    get, unpinned, usb, published, all_tensors, tmp_path, dest, wrong
):
    """Its hash would be recorded, and the right file refused from then on."""
    own = tmp_path / "own"
    if wrong == "foreign":
        with importable("some.body.Own") as cls:
            torch.save({"state_dict": all_tensors["coser"], "x": cls()}, own)
    else:
        own.write_bytes(published[wrong])
    ran = get("--import", own, "--as", "coser")
    assert ran.code == 3
    assert len([line for line in ran.err.splitlines() if line.startswith("coser: ")]) == 1
    assert "own' is" in ran.err
    assert tree(dest) == [".download.lock"]
    assert get("--import", usb / ODD_NAME, "--as", "coser").code == 0


def test_a_wrong_file_at_the_source_is_not_held_to(get, unpinned, usb, published, dest, host):
    host.put("/coser", published["sd21-base"])
    ran = get(*ALL, "--trust-first-use")
    assert ran.code == 3
    assert "is Stable Diffusion 2; it cannot serve as 'coser'" in ran.err
    assert (dest / "originals/coser.bad").read_bytes() == published["sd21-base"]
    host.put("/coser", (usb / ODD_NAME).read_bytes())
    assert get(*ALL, "--trust-first-use").code == 0


def test_a_file_of_a_foreign_class_is_kept(get, unpinned, all_tensors, dest, host, tmp_path):
    """It may be right, and is large: with the line in the manifest it need not be fetched again."""
    with importable("some.body.Own") as own:
        torch.save({"state_dict": all_tensors["coser"], "x": own()}, tmp_path / "own.ckpt")
    host.put("/coser", (tmp_path / "own.ckpt").read_bytes())
    assert get(*FREE, "--trust-first-use").code == 3
    line = 'safe_globals = ["some.body.Own"]'
    unpinned.write_text(unpinned.read_text().replace("[file.coser]", f"[file.coser]\n{line}", 1))
    ran = get(*FREE, "--offline")
    assert (ran.code, ran.out) == (0, f"{dest / 'sd21'}\n")
    assert "cfw is left out: it is not there, and no request may be made" in ran.err
    assert asked(host) == ["/coser"]


def test_another_file_than_at_first_use(get, unpinned, usb, all_tensors, dest):
    get("--import", usb / ODD_NAME, "--as", "coser")
    newer = save_from_training(usb, all_tensors["coser"] | {"x": torch.zeros(2)}, "newer.ckpt")
    ran = get("--import", newer, "--as", "coser")
    assert ran.code == 3
    assert f"remove the entry 'coser' from '{dest / 'weights.lock.json'}'" in ran.err
    lock = json.loads((dest / "weights.lock.json").read_text())
    del lock["files"]["coser"]
    (dest / "weights.lock.json").write_text(json.dumps(lock))
    assert get("--import", newer, "--as", "coser").code == 0


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch was-here",)


def test_a_pickle_that_would_run_code(get, unpinned, all_tensors, tmp_path, dest):
    torch.save({"state_dict": all_tensors["coser"], "x": Evil()}, tmp_path / "evil.ckpt")
    ran = get("--import", tmp_path / "evil.ckpt", "--as", "coser")
    assert ran.code == 3
    assert "system" in ran.err
    assert not (tmp_path / "was-here").exists()
    assert not (dest / "sd21").exists()


def test_two_candidates_for_one_file(get, unpinned, usb, all_tensors):
    save_from_training(usb, all_tensors["coser"], "epoch=1.ckpt")
    ran = get("--from-dir", usb, "--yes")
    assert ran.code == 2
    assert "several files could be 'coser'" in ran.err
    assert "epoch=1.ckpt" in ran.err and ODD_NAME in ran.err


def test_what_is_recognised_and_of_no_use_is_named(get, unpinned, usb, all_tensors, tmp_path):
    (usb / "broken.ckpt").write_bytes(b"PK\x03\x04 cut off")
    (usb / "model.safetensors").write_bytes(save({"fc.weight": torch.zeros(3)}))
    save_lightning(usb / "base.ckpt", all_tensors["sd21-base"])
    with importable("some.body.Own") as own:
        torch.save({"state_dict": {}, "x": own()}, usb / "foreign.ckpt")
    ran = get("--from-dir", usb, "--yes")
    assert ran.code == 0
    assert "broken.ckpt' is truncated" in ran.err
    assert "model.safetensors' is nothing that is known" in ran.err
    assert "base.ckpt' is Stable Diffusion 2, but none of the files whose hash is known" in ran.err
    assert "foreign.ckpt' is refused" in ran.err and "some.body.Own" in ran.err
    assert "photo.png" not in ran.err


def test_a_foreign_class_can_be_let_through_by_a_manifest(
    get, unpinned, all_tensors, tmp_path, dest
):
    """The message gives the line; with it, the class stands for an empty one."""
    with importable("some.body.Own") as own:
        torch.save({"state_dict": all_tensors["coser"], "x": own()}, tmp_path / "own.ckpt")
    words = ("--import", tmp_path / "own.ckpt", "--as", "coser")
    ran = get(*words)
    assert ran.code == 3
    line = 'safe_globals = ["some.body.Own"]'
    assert f"add {line} to [file.coser]" in ran.err
    unpinned.write_text(unpinned.read_text().replace("[file.coser]", f"[file.coser]\n{line}", 1))
    assert get(*words).code == 0
    assert has_part(dest / "sd21", "unet")


def test_pins_can_be_shared(get, unpinned, usb, dest, host, tmp_path):
    pinned = tmp_path / "company.toml"
    ran = get("--pin", pinned)
    assert ran.code == 3  # nothing is there yet
    assert "coser download-weights" in ran.err
    get("--from-dir", usb, "--yes")
    ran = get("--pin", pinned)
    assert (ran.code, ran.out) == (0, f"{pinned}\n")
    file = load_manifest(pinned).files["coser"]
    data = (usb / ODD_NAME).read_bytes()
    assert (file.size, file.sha256, file.pin) == (len(data), sha256(data), None)
    assert get("--pin", pinned).code == 2  # nothing is overwritten
    assert get("--pin", "-").out.splitlines()[1:] == pinned.read_text().splitlines()[1:]
    # somebody else: the right file is fetched without trust on first use, another one is refused
    host.put("/coser", data)
    host.put("/cfw", (usb / "more/last.ckpt").read_bytes())
    other = ("--manifest", pinned, "--dest", tmp_path / "other")
    host.then("/coser", lambda *args: serve(args[0], data[:-1] + b"x"))
    assert get(*ALL, *other).code == 3
    ran = get(*ALL, *other)
    assert ran.code == 0, ran.err
    assert has_part(tmp_path / "other" / "sd21", "unet")


def test_a_model_that_lost_a_file_is_installed_again(get, coser, dest, host, usb):
    get(*ALL)
    part = dest / "sd21/vae/diffusion_pytorch_model.safetensors"
    part.unlink()
    ran = coser("upscale", usb / "photo.png", "-s", 2, "--model", "sd21", "--device", "cpu")
    assert ran.code == 3 or "then: coser download-weights" in ran.err
    assert get(*ALL).code == 0
    assert part.exists()


def test_copies_count_where_there_is_no_link(get, unpinned, usb, dest):
    """Files that stay are copied, and so are those on another file system."""
    words = ("--from-dir", usb, "--yes", "--dry-run", "--json")
    size = sum((usb / name).stat().st_size for name in (ODD_NAME, "more/last.ckpt"))
    assert get(*words).records[0]["disk_bytes"] == size
    assert get(*words, "--keep-originals").records[0]["disk_bytes"] == 2 * size
