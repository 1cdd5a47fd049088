"""Published checkpoints at toy size through `install_model`: what comes out, and what stops it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from coser_cli.errors import WeightsError
from coser_cli.weights.checkpoints.open import Origin
from coser_cli.weights.install.inventory import Inventory
from coser_cli.weights.install.model import install_model, missing_files, verify_model
from coser_cli.weights.load import load_model
from coser_cli.weights.manifest import load_manifest
from coser_cli.weights.store import WEIGHTS_FILE
from tests.weights.conftest import TOY, Variant

SD21 = Variant()
TURBO = Variant(
    name="fast",
    folder="fast",
    base="sd-turbo",
    fallback=("qformer", "openclip-h14"),
    defaults={"steps": 4, "sampler": "euler", "guidance_scale": 1.0},
)
PARTS = {"srresnet", "vae", "cfw", "text", "cognitive_encoder", "unet", "controlnet"}


def both(shelf, pickled=False):
    return {name: shelf.origin(name, pickled=pickled) for name in ("coser", "cfw")}


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def weights(folder, part):
    return load_file(folder / part / WEIGHTS_FILE)


# -- what comes out


@pytest.mark.parametrize("pickled", [False, True])
def test_all_networks_of_a_checkpoint_are_installed_and_run(shelf, tmp_path, pickled):
    folder = install_model(SD21, both(shelf, pickled), tmp_path / "root")
    assert folder == tmp_path / "root" / "toy"
    assert {path.name for path in folder.iterdir() if path.is_dir()} == PARTS
    model = load_model(folder)
    assert model.config == TOY
    published = shelf.tensors["coser"]
    state = model.unet.state_dict()
    assert torch.equal(
        state["mid_block.attentions.0.low_res_proj.weight"],
        published["model.diffusion_model.middle_block.1.proj_in_clr_lna.weight"],
    )
    states = model.text.encode(["a cat"])
    image = model.cognition(torch.rand(1, 3, 16, 16))
    assert states.isfinite().all() and image.isfinite().all()
    assert model.cfw is not None


def test_the_folder_of_temporary_files_is_gone(shelf, tmp_path):
    install_model(SD21, both(shelf), tmp_path / "root")
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["toy"]


@pytest.mark.parametrize(
    ("dtype", "kept"), [("float32", torch.float32), ("float16", torch.float16)]
)
def test_the_dtype_is_the_one_asked_for(shelf, tmp_path, dtype, kept, lock_of):
    folder = install_model(SD21, both(shelf), tmp_path / "root", dtype)
    found = {t.dtype for part in PARTS for t in weights(folder, part).values()}
    assert found == {kept}
    assert lock_of(folder)["dtype"] == dtype
    name = "pre_sr_model.conv_first.weight"
    expected = shelf.tensors["coser"][name].to(kept)
    assert torch.equal(weights(folder, "srresnet")["conv_first.weight"], expected)


def test_a_number_too_large_for_float16_is_refused(shelf, tmp_path):
    name = "pre_sr_model.conv_first.bias"
    tensors = shelf.tensors["coser"] | {name: torch.full((8,), 1e6)}
    with pytest.raises(WeightsError, match=r"conv_first\.bias.*float16"):
        install_model(SD21, {"coser": shelf.origin("coser", tensors)}, tmp_path / "root", "float16")
    assert not (tmp_path / "root" / "toy").exists()


def test_the_same_files_give_the_same_bytes(shelf, tmp_path):
    first = contents(install_model(SD21, both(shelf), tmp_path / "a"))
    second = contents(install_model(SD21, both(shelf, pickled=True), tmp_path / "b"))
    assert first.keys() == second.keys()
    assert {str(path) for path in first if first[path] != second[path]} <= {"coser.lock.json"}


def test_without_the_cfw_decoder(shelf, tmp_path):
    folder = install_model(SD21, {"coser": shelf.origin("coser")}, tmp_path / "root")
    assert load_model(folder).cfw is None


def test_progress_ends_at_all_bytes(shelf, tmp_path):
    told = []
    install_model(SD21, both(shelf), tmp_path, on_progress=lambda *now: told.append(now))
    assert {part for part, _, _ in told} == PARTS
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1][1] == told[-1][2]


# -- several files


def test_a_variant_with_a_base_takes_unet_and_vae_from_it(shelf, tmp_path):
    origins = both(shelf) | {"sd-turbo": shelf.origin("sd-turbo")}
    folder = install_model(TURBO, origins, tmp_path)
    model = load_model(folder)
    base, own = shelf.tensors["sd-turbo"], shelf.tensors["coser"]
    unet, vae = model.unet.state_dict(), model.autoencoder.state_dict()
    old = "model.diffusion_model.middle_block.1."
    assert torch.equal(unet["mid_block.attentions.0.proj_in.weight"], base[f"{old}proj_in.weight"])
    new = own[f"{old}proj_in_clr_lna.weight"]
    assert torch.equal(unet["mid_block.attentions.0.low_res_proj.weight"], new)
    bias = base["first_stage_model.quant_conv.bias"]
    assert torch.equal(vae["quant_conv.bias"], bias)
    text = model.text.state_dict()["tower.ln_final.bias"]
    assert torch.equal(text, own["cond_stage_model.model.ln_final.bias"])
    defaults = model.config.defaults
    assert (defaults.steps, defaults.sampler, defaults.guidance_scale) == (4, "euler", 1.0)
    assert model.config == replace(TOY, name="fast", defaults=defaults)


def test_a_whole_checkpoint_lacks_nothing(shelf):
    assert missing_files(SD21, {"coser": shelf.origin("coser")}) == []
    assert missing_files(TURBO, both(shelf)) == ["sd-turbo"]
    assert missing_files(SD21, {"cfw": shelf.origin("cfw")}) == ["coser"]
    assert missing_files(TURBO, both(shelf) | {"sd-turbo": shelf.origin("sd-turbo")}) == []


def small(shelf, *beginnings, lna_only=False):
    """The CoSeR checkpoint without some parts."""
    return {
        name: tensor
        for name, tensor in shelf.tensors["coser"].items()
        if not name.startswith(beginnings)
        and not (lna_only and name.startswith("model.") and "_lna" not in name)
    }


@pytest.mark.parametrize(
    ("gone", "ids"),
    [
        (("first_stage_model.",), ["sd21-base"]),
        (("global_adapter.",), ["qformer"]),
        (("cond_stage_model.",), ["openclip-h14"]),
        (("cond_stage_model.", "first_stage_model."), ["sd21-base", "openclip-h14"]),
        (("global_adapter.", "pre_sr_model."), ["qformer"]),
    ],
)
def test_what_a_checkpoint_lacks_is_asked_for_and_taken(shelf, tmp_path, gone, ids):
    origins = {"coser": shelf.origin("coser", small(shelf, *gone))}
    assert missing_files(SD21, origins) == ids
    with pytest.raises(WeightsError, match="is missing"):
        install_model(SD21, origins, tmp_path)
    origins |= {file_id: shelf.origin(file_id, pickled=True) for file_id in ids}
    assert missing_files(SD21, origins) == []
    folder = install_model(SD21, origins, tmp_path)
    for part in PARTS - {"cfw"}:
        assert weights(folder, part)


def test_an_unet_of_adapters_alone_takes_the_rest_from_stable_diffusion(shelf, tmp_path):
    origins = {"coser": shelf.origin("coser", small(shelf, lna_only=True))}
    assert missing_files(SD21, origins) == ["sd21-base"]
    origins["sd21-base"] = shelf.origin("sd21-base")
    state = weights(install_model(SD21, origins, tmp_path), "unet")
    taken = shelf.tensors["sd21-base"]["model.diffusion_model.out.2.bias"]
    assert torch.equal(state["conv_out.bias"], taken)


def test_what_no_other_file_holds_is_named(shelf):
    origins = {"coser": shelf.origin("coser", small(shelf, "structcond"))}
    with pytest.raises(WeightsError, match="the ControlNet is missing"):
        missing_files(SD21, origins)


def test_the_checkpoint_goes_before_what_is_given_beside_it(shelf, tmp_path):
    origins = {name: shelf.origin(name) for name in ("sd21-base", "openclip-h14", "coser")}
    state = weights(install_model(SD21, origins, tmp_path), "vae")
    own = shelf.tensors["coser"]["first_stage_model.quant_conv.bias"]
    assert torch.equal(state["quant_conv.bias"], own)


def diffusers_folder(folder, state, old_attention):
    """A pipeline of diffusers made of our own networks' tensors, named as it names them."""
    text = {}
    hidden = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj"}
    hidden |= {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    for name, tensor in state["text"].items():
        name = name.removeprefix("tower.")
        if name == "positional_embedding":
            text["text_model.embeddings.position_embedding.weight"] = tensor
        elif name.startswith("token_embedding"):
            text[f"text_model.embeddings.{name}"] = tensor
        elif name.startswith("ln_final"):
            text[name.replace("ln_final", "text_model.final_layer_norm")] = tensor
        else:
            _, _, index, rest = name.split(".", 3)
            layer, leaf = f"text_model.encoder.layers.{index}", rest.rpartition(".")[2]
            if rest.startswith("attn.in_proj_"):
                leaf = rest.removeprefix("attn.in_proj_")
                for which, third in zip("qkv", tensor.chunk(3), strict=True):
                    text[f"{layer}.self_attn.{which}_proj.{leaf}"] = third.clone()
            else:
                text[f"{layer}.{hidden[rest.rpartition('.')[0]]}.{leaf}"] = tensor
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    vae = {}
    for name, tensor in state["vae"].items():
        for new, former in old.items() if old_attention else ():
            name = name.replace(f"attentions.0.{new}", f"attentions.0.{former}")
        vae[name] = tensor
    unet = {n: t for n, t in state["unet"].items() if "low_res_" not in n and "reference_" not in n}
    for part, tensors in (("unet", unet), ("vae", vae), ("text_encoder", text)):
        (folder / part).mkdir(parents=True)
        stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        save_file(tensors, folder / part / f"{stem}.safetensors")
    return Origin(folder, "diffusers")


@pytest.mark.parametrize("old_attention", [False, True])
def test_the_format_of_diffusers_gives_the_same_networks(shelf, tmp_path, old_attention):
    single = {"coser": shelf.origin("coser"), "sd-turbo": shelf.origin("sd-turbo")}
    expected = install_model(replace(TURBO, files=("coser",)), single, tmp_path / "a")
    state = {part: weights(expected, part) for part in ("unet", "vae")}
    state["text"] = weights(expected, "text")
    origin = diffusers_folder(tmp_path / "pipeline", state, old_attention)
    origins = {"coser": shelf.origin("coser"), "sd-turbo": origin}
    folder = install_model(replace(TURBO, files=("coser",)), origins, tmp_path / "b")
    assert missing_files(TURBO, origins) == []
    for part in ("unet", "vae"):
        assert contents(folder / part) == contents(expected / part)
    # its text tower, where the checkpoint has none
    bare = shelf.origin(
        "coser",
        small(
            shelf,
            "cond_stage_model.model.t",
            "cond_stage_model.model.l",
            "cond_stage_model.model.p",
        ),
    )
    found = install_model(SD21, {"coser": bare, "sd21-base": origin}, tmp_path / "c")
    assert contents(found / "text") == contents(expected / "text")


# -- what stops it


def foreign(shelf):
    coser = shelf.tensors["coser"]
    unet = {n: t for n, t in coser.items() if n.startswith("model.") and "_lna" not in n}
    text = {"cond_stage_model.transformer.text_model.embeddings.position_ids": torch.zeros(3)}
    sdxl = {"conditioner.embedders.1.model.ln_final.bias": torch.zeros(3)}
    wide = {
        n: torch.zeros(32, 768) if n.endswith("attn2.to_k.weight") else t for n, t in unet.items()
    }
    first = "model.diffusion_model.input_blocks.0.0.weight"
    return {
        "Stable Diffusion 1.x": unet | text,
        "Stable Diffusion XL": unet | sdxl,
        "Stable Diffusion 2;": unet,
        "a StableSR checkpoint": unet
        | {"model.diffusion_model.out.spade.conv.weight": torch.zeros(3)},
        "9 input channels": unet | {first: torch.zeros(16, 9, 3, 3)},
        "StableSR's CFW decoder": shelf.tensors["cfw"],
        "cognitive encoder": shelf.tensors["qformer"],
        "open_clip": shelf.tensors["openclip-h14"],
        "a LoRA": {"lora_unet_down.weight": torch.zeros(3)},
        "FLUX": {"double_blocks.0.x": torch.zeros(3)},
        "Stable Diffusion 1.x; ": wide,
        "nothing that is known": {"fc.weight": torch.zeros(3)},
    }


@pytest.mark.parametrize("index", range(12))
def test_another_model_is_called_by_its_name(shelf, tmp_path, index):
    name, tensors = list(foreign(shelf).items())[index]
    with pytest.raises(WeightsError) as caught:
        install_model(SD21, {"coser": shelf.origin("coser", tensors)}, tmp_path)
    assert name.rstrip("; ") in caught.value.message
    assert "'coser'" in caught.value.message


def changed(shelf, change):
    tensors = dict(shelf.tensors["coser"])
    change(tensors)
    return {"coser": shelf.origin("coser", tensors)}


CONV = "model.diffusion_model.input_blocks.1.0.in_layers.2.weight"


def test_a_missing_name_is_named_with_its_file(shelf, tmp_path):
    origins = changed(shelf, lambda t: t.pop(CONV))
    with pytest.raises(WeightsError, match=f"{CONV} is missing") as caught:
        install_model(SD21, origins, tmp_path)
    assert str(origins["coser"].path) in caught.value.message


SURPLUS = {
    "usm_sharpener.kernel": torch.zeros(1, 51, 51),
    "jpeger.dct.matrix": torch.zeros(8, 8),
    "jpeger.dct.scale": torch.zeros(()),
    "model.diffusion_model.input_blocks.1.0.extra.weight": torch.zeros(2),
}


def test_surplus_names_are_left_out_and_counted(shelf, tmp_path, lock_of):
    origins, warnings = changed(shelf, lambda t: t.update(SURPLUS)), []
    found = install_model(SD21, origins, tmp_path / "a", on_warning=warnings.append)
    expected = install_model(SD21, {"coser": shelf.origin("coser")}, tmp_path / "b")
    for part in PARTS - {"cfw"}:
        assert contents(found / part) == contents(expected / part)
    surplus = {
        "names": 4,
        "bytes": 4 * (51 * 51 + 64 + 1 + 2),
        "prefixes": {"jpeger.dct": 2, "model.diffusion_model": 1, "usm_sharpener": 1},
    }
    assert lock_of(found)["origins"]["coser"]["surplus"] == surplus
    assert "surplus" not in lock_of(expected)["origins"]["coser"]
    (warning,) = warnings
    assert str(origins["coser"].path) in warning
    assert "4 names" in warning and "usm_sharpener" in warning and f"{surplus['bytes']}" in warning


def test_what_is_no_tensor_is_surplus(shelf, tmp_path, lock_of):
    tensors = shelf.tensors["coser"] | {"step": np.float64(7), "notes": "none"}
    origins = {"coser": shelf.origin("coser", tensors, pickled=True)}
    surplus = lock_of(install_model(SD21, origins, tmp_path))["origins"]["coser"]["surplus"]
    assert (surplus["names"], surplus["bytes"]) == (2, 0)


def test_a_strict_installation_refuses_surplus_names(shelf, tmp_path):
    origins = changed(shelf, lambda t: t.update(SURPLUS))
    for step in (
        lambda: install_model(SD21, origins, tmp_path, strict=True),
        lambda: missing_files(SD21, origins, strict=True),
    ):
        with pytest.raises(WeightsError, match=r"unknown names.*usm_sharpener\.kernel") as caught:
            step()
        assert str(origins["coser"].path) in caught.value.message
    assert not (tmp_path / "toy").exists()


def test_a_renamed_tensor_is_missing_and_its_new_name_is_shown(shelf, tmp_path):
    origins = changed(shelf, lambda t: t.update({f"{CONV}_ema": t.pop(CONV)}))
    with pytest.raises(WeightsError, match=f"{CONV} is missing.*unknown names: {CONV}_ema"):
        install_model(SD21, origins, tmp_path)


def test_a_wrong_shape_is_named_with_its_file(shelf, tmp_path):
    origins = changed(shelf, lambda t: t.update({CONV: torch.zeros(16, 16, 5, 5)}))
    with pytest.raises(
        WeightsError, match=rf"{CONV} has the shape \(16, 16, 5, 5\), not "
    ) as caught:
        install_model(SD21, origins, tmp_path)
    assert str(origins["coser"].path) in caught.value.message


def test_what_training_leaves_behind_is_ignored(shelf, tmp_path):
    more = {
        "model_ema.decay": torch.zeros(1),
        "loss.logvar": torch.zeros(1),
        "logvar": torch.zeros(9),
    }
    install_model(SD21, changed(shelf, lambda t: t.update(more)), tmp_path)


@pytest.fixture
def installed(shelf, tmp_path):
    """A model that is already there, and its bytes."""
    root = tmp_path / "root"
    folder = install_model(SD21, both(shelf), root)
    return root, folder, contents(folder)


def test_a_failure_leaves_the_previous_installation(shelf, installed):
    root, folder, before = installed
    for origins in (
        changed(shelf, lambda t: t.pop(CONV)),
        changed(shelf, lambda t: t.update({"pre_sr_model.conv_hr.bias": torch.full((8,), 1e6)})),
    ):
        with pytest.raises(WeightsError):
            install_model(SD21, origins, root, "float16")
        assert contents(folder) == before
        assert [path.name for path in root.iterdir()] == ["toy"]


def test_a_new_installation_replaces_the_previous_one(shelf, installed):
    root, folder, before = installed
    install_model(SD21, {"coser": shelf.origin("coser")}, root, "float16")
    assert contents(folder) != before
    assert verify_model(folder) == []
    assert not (folder / "cfw").exists()
    assert [path.name for path in root.iterdir()] == ["toy"]


def test_a_swap_that_was_killed_half_way_is_undone(shelf, installed):
    """Between the two renames the former model lies beside its place; the next command finds it."""
    root, folder, before = installed
    folder.rename(root / ".toy.former")
    (root / "manifest.toml").write_text(
        'schema = 1\n[variant.toy]\ndescription = "x"\nfolder = "toy"\nconfig = "toy"\n'
    )
    Inventory(load_manifest(root / "manifest.toml"), root)
    assert contents(folder) == before
    assert not (root / ".toy.former").exists()


def test_an_interruption_leaves_the_previous_installation(shelf, installed):
    root, folder, before = installed

    def stop(part, done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        install_model(SD21, both(shelf), root, on_progress=stop)
    assert contents(folder) == before
    assert [path.name for path in root.iterdir()] == ["toy"]


def test_leftovers_of_killed_runs_are_cleared_away(shelf, tmp_path):
    leftover = tmp_path / ".install-old"
    leftover.mkdir()
    os.utime(leftover, (0, 0))
    (tmp_path / ".install-now").mkdir()
    install_model(SD21, both(shelf), tmp_path / "")
    assert not leftover.exists()
    assert (tmp_path / ".install-now").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_no_space_leaves_the_previous_installation(shelf, installed):
    root, folder, before = installed
    origins = both(shelf)
    code = f"""
import resource
from tests.weights.conftest import TOY, Variant
from coser_cli.errors import WeightsError
from coser_cli import config
from coser_cli.weights.checkpoints.open import Origin
from coser_cli.weights.install.model import install_model
from pathlib import Path
config.VARIANTS["toy"] = TOY
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
origins = {{name: Origin(Path(path), "safetensors") for name, path in
           { ({name: str(o.path) for name, o in origins.items()})!r}.items()}}
try:
    install_model(Variant(), origins, Path({str(root)!r}))
except WeightsError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot install 'toy'" in ran.stdout and "file too large" in ran.stdout, ran.stderr
    assert contents(folder) == before
    assert [path.name for path in root.iterdir()] == ["toy"]


@pytest.mark.skipif("os.geteuid() == 0", reason="root may write everywhere")
def test_a_read_only_folder_is_named(shelf, tmp_path):
    root = tmp_path / "closed"
    root.mkdir(mode=0o500)
    with pytest.raises(WeightsError, match=r"cannot install.*permission denied"):
        install_model(SD21, both(shelf), root)


def test_a_file_in_the_way_is_named(shelf, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot install"):
        install_model(SD21, both(shelf), tmp_path / "file")


# -- lock and verification


def test_the_lock_says_what_the_model_is_made_of(shelf, tmp_path, lock_of):
    origins = both(shelf)
    origins["coser"] = replace(origins["coser"], sha256="0" * 64)
    lock = lock_of(install_model(SD21, origins, tmp_path))
    assert (lock["schema"], lock["variant"], lock["dtype"]) == (1, "toy", "float32")
    assert lock["origins"].keys() == {"coser", "cfw"}
    given = lock["origins"]["coser"]["files"][origins["coser"].path.name]
    assert given == {"bytes": origins["coser"].path.stat().st_size, "sha256": "0" * 64}
    own = lock["origins"]["cfw"]["files"][origins["cfw"].path.name]
    assert len(own["sha256"]) == 64
    assert lock["files"].keys() == {"model.json"} | {
        f"{part}/{name}" for part in PARTS for name in ("config.json", WEIGHTS_FILE)
    }


def test_verifying_finds_every_kind_of_damage(shelf, tmp_path):
    folder = install_model(SD21, both(shelf), tmp_path)
    assert verify_model(folder) == []
    flipped = folder / "unet" / WEIGHTS_FILE
    data = bytearray(flipped.read_bytes())
    data[-1] ^= 1
    flipped.write_bytes(data)
    short = folder / "vae" / WEIGHTS_FILE
    short.write_bytes(short.read_bytes()[:-1])
    (folder / "model.json").unlink()
    faults = verify_model(folder)
    assert len(faults) == 3
    assert any("unet" in fault and "sha256" in fault for fault in faults)
    assert any("vae" in fault and "bytes, not" in fault for fault in faults)
    assert any("model.json" in fault and "no such file" in fault for fault in faults)
    (folder / "coser.lock.json").write_text("{}")
    assert "not a lock file" in verify_model(folder)[0]
