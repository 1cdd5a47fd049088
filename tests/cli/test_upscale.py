"""`coser upscale` as a user meets it, with a real model at toy size."""

import os
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from coser_cli.batch import load
from coser_cli.engine.compute import memory
from coser_cli.errors import Exit
from coser_cli.weights.load import part_sizes

OFFLOADS = ("none", "model", "sequential")


def test_result_lies_beside_the_input_and_its_path_is_printed(coser, photo, tmp_path):
    photo("photo.jpg")
    ran = coser("upscale", "photo.jpg")
    assert ran.code == Exit.OK
    assert ran.out == "photo_4x.png\n"
    assert Image.open("photo_4x.png").size == (48, 32)
    assert sorted(os.listdir()) == ["photo.jpg", "photo_4x.png"]


@pytest.mark.parametrize(
    ("scale", "name", "size"),
    [("2", "photo_2x.png", (24, 16)), ("2.5", "photo_2.5x.png", (30, 20))],
)
def test_scale(coser, photo, scale, name, size):
    photo("photo.png")
    assert coser("upscale", "photo.png", "-s", scale).out == f"{name}\n"
    assert Image.open(name).size == size


def test_output_file_decides_the_format(coser, photo):
    photo("photo.png")
    for name in ("a.jpg", "b.webp", "c.tif", "d.bmp", "e.png"):
        assert coser("upscale", "photo.png", "-s", 1, "-o", name).code == Exit.OK
        assert Image.open(name).size == (12, 8)


@pytest.mark.parametrize("folder", ["new", "deep/er/", "has.dot/"])
def test_output_folder_is_made(coser, photo, folder):
    photo("a.png")
    photo("b.png")
    ran = coser("upscale", "a.png", "b.png", "-s", 1, "-o", folder)
    assert ran.code == Exit.OK
    assert ran.out.split() == [os.path.join(folder, name) for name in ("a_1x.png", "b_1x.png")]


def test_same_seed_same_file(coser, photo):
    photo("a.png")
    for name, seed in (("x.png", 1), ("y.png", 1), ("z.png", 2)):
        coser("upscale", "a.png", "-o", name, "--seed", seed, "-s", 2)
    first, second, other = (np.asarray(Image.open(f"{name}.png")) for name in "xyz")
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_every_sampling_option(coser, photo):
    photo("a.png")
    ran = coser(
        *("upscale", "a.png", "-s", 2, "--steps", 1, "--sampler", "ddim", "--seed", 3),
        *("--guidance-scale", 1, "--reference-guidance-scale", 2, "--negative-prompt", ""),
        *("--color-fix", "wavelet", "--fidelity", 0.3, "--strength", 0.5),
        *("--reference-strength", 0.5, "--reference-mode", "none", "--dtype", "float32"),
    )
    assert ran.code == Exit.OK


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["--save-reference", "photo.png"], "photo_2x_reference.png"),
        (["photo.png", "--save-reference"], "photo_2x_reference.png"),
        (["--save-reference", "-q", "photo.png"], "photo_2x_reference.png"),
        (["--save-reference=refs", "photo.png"], "refs/photo_2x_reference.png"),
        (["photo.png", "--save-reference", "refs"], "refs/photo_2x_reference.png"),
        (["--save-reference", "ne.w/", "photo.png"], "ne.w/photo_2x_reference.png"),
        (["--save-reference", "--", "photo.png"], "photo_2x_reference.png"),
    ],
)
def test_save_reference(coser, photo, words, where):
    photo("photo.png")
    assert coser("upscale", "-s", 2, *words).code == Exit.OK
    assert Image.open(where).size == (24, 16)
    assert Image.open("photo_2x.png").size == (24, 16)


def test_reference_alone_is_the_saved_reference(coser, photo):
    photo("photo.png")
    coser("upscale", "photo.png", "-s", 2, "--save-reference")
    ran = coser("reference", "photo.png", "-s", 2)
    assert ran.out == "photo_reference.png\n"
    saved, alone = (
        np.asarray(Image.open(name)) for name in ("photo_2x_reference.png", "photo_reference.png")
    )
    assert np.array_equal(saved, alone)


def test_reference_takes_the_short_names(coser, photo):
    photo("a.png")
    words = ["-s", 1, "--steps", 1, "--strength", 0.5]
    assert coser("reference", "a.png", *words, "--guidance-scale", 1, "-o", "x.png").code == 0
    long = ["--reference-guidance-scale", 1, "-o", "y.png"]
    assert coser("reference", "a.png", *words, *long).code == 0
    assert np.array_equal(np.asarray(Image.open("x.png")), np.asarray(Image.open("y.png")))


def test_finished_outputs_are_skipped_unless_overwrite(coser, photo):
    photo("photo.png")
    coser("upscale", "photo.png", "-s", 1)
    before = os.stat("photo_1x.png").st_mtime_ns
    ran = coser("upscale", "photo.png", "-s", 1)
    assert ran.code == Exit.OK
    assert ran.out == "photo_1x.png\n"
    assert "skipped" in ran.err
    assert os.stat("photo_1x.png").st_mtime_ns == before
    coser("upscale", "photo.png", "-s", 1, "--overwrite")
    assert os.stat("photo_1x.png").st_mtime_ns > before


def test_missing_reference_is_added_without_touching_the_result(coser, photo):
    photo("photo.png")
    coser("upscale", "photo.png", "-s", 1)
    before = os.stat("photo_1x.png").st_mtime_ns
    coser("upscale", "photo.png", "-s", 1, "--save-reference")
    assert os.path.exists("photo_1x_reference.png")
    assert os.stat("photo_1x.png").st_mtime_ns == before


def test_one_bad_input_does_not_stop_the_others(coser, photo):
    photo("a.png")
    photo("c.png")
    with open("b.png", "wb") as file:
        file.write(b"no picture")
    ran = coser("upscale", "a.png", "b.png", "missing.png", "c.png", "-s", 1)
    assert ran.code == Exit.FAILED
    assert ran.out == "a_1x.png\nc_1x.png\n"
    problems = [line for line in ran.err.splitlines() if line.startswith("coser: ")]
    assert len(problems) == 2
    assert "'b.png'" in problems[0]
    assert "'missing.png'" in problems[1]
    assert "2 done, 0 skipped, 2 failed" in ran.err
    assert sorted(os.listdir()) == ["a.png", "a_1x.png", "b.png", "c.png", "c_1x.png"]


def test_an_input_named_twice_is_one_job(coser, photo):
    path = photo("a.png")
    assert coser("upscale", "a.png", path, "./a.png", "-s", 1).out == "a_1x.png\n"


def test_transparency_and_grey_survive(coser, tmp_path):
    Image.new("LA", (6, 4), (100, 30)).save("a.png")
    coser("upscale", "a.png", "-s", 2)
    with Image.open("a_2x.png") as image:
        assert image.mode == "LA"
        assert set(np.asarray(image)[..., 1].ravel()) == {30}


NAMES = ["[b]x[i].png", "a b.png", "ä€.png", "new\nline.png", "it's.png", "-dash.png", "50%.png"]


@pytest.mark.parametrize("name", NAMES)
def test_awkward_names(coser, photo, name):
    photo(name)
    ran = coser("upscale", "-s", 1, "--", name)
    assert ran.code == Exit.OK
    assert ran.out == f"{name[:-4]}_1x.png\n"
    assert os.path.exists(f"{name[:-4]}_1x.png")


def test_name_that_is_not_text(coser, tmp_path):
    name = b"caf\xe9.png"
    try:
        Image.new("RGB", (3, 3)).save(os.fsencode(tmp_path) + b"/" + name, format="PNG")
    except OSError:
        pytest.skip("the file system has text names only")
    ran = coser("upscale", os.fsdecode(name), "-s", 1, "--json")
    assert ran.code == Exit.OK
    assert ran.records[0]["target"] == "caf\udce9_1x.png"


def test_quiet_leaves_errors_only(coser, photo):
    photo("a.png")
    ran = coser("upscale", "a.png", "none.png", "-s", 1, "-q")
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert "none.png" in ran.err


def test_auto_says_which_model(coser, photo, monkeypatch, weights):
    photo("a.png")
    installed = weights / "sd21"
    installed.symlink_to(weights / "toy")
    try:
        ran = coser("upscale", "a.png", "-s", 1, "--model", "auto")
    finally:
        installed.unlink()
    assert ran.code == Exit.OK
    assert "model: sd21" in ran.err


def test_json_lines(coser, photo):
    photo("a.png")
    ran = coser("upscale", "a.png", "none.png", "-s", 2, "--json", "--seed", 5)
    done, failed, summary = ran.records
    assert list(done) == list(failed)
    assert done.pop("seconds") > 0
    assert done == {
        "type": "image",
        "version": 1,
        "source": "a.png",
        "frame": None,
        "target": "a_2x.png",
        "reference": None,
        "mask": None,
        "conditions": {},
        "references": [],
        "comparison": None,
        "scores": None,
        "chosen": None,
        "status": "done",
        "source_size": [12, 8],
        "width": 24,
        "height": 16,
        "seed": 5,
        "notes": [],
        "error": None,
    }
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "failed"
    assert failed["error"]["exit_code"] == 1
    assert "none.png" in failed["error"]["message"]
    assert failed["error"]["hint"]
    assert summary.pop("seconds") > 0
    assert summary == {
        "type": "summary",
        "version": 1,
        "status": "partial",
        "exit_code": 1,
        "total": 2,
        "done": 1,
        "skipped": 0,
        "failed": 1,
        "not_started": 0,
        "error": None,
    }


def test_json_summary_also_where_nothing_ran(coser, photo):
    photo("a.png")
    ran = coser("upscale", "a.png", "--model", "none", "--json")
    assert ran.code == Exit.WEIGHTS
    (summary,) = ran.records
    assert summary["status"] == "error"
    assert summary["exit_code"] == Exit.WEIGHTS
    assert "none" in summary["error"]["message"]


def test_config_file(coser, photo, tmp_path, monkeypatch):
    photo("a.png")
    config = tmp_path / "coser.toml"
    config.write_text('[upscale]\nscale = 2\ncolor-fix = "none"\nseed = 7\noverwrite = true\n')
    first = coser("upscale", "a.png", "--config", config, "--json")
    assert first.records[0]["target"] == "a_2x.png"
    assert first.records[0]["seed"] == 7
    monkeypatch.setenv("COSER_SEED", "8")  # a variable goes before the file
    assert coser("upscale", "a.png", "--config", config, "--json").records[0]["seed"] == 8
    ran = coser(
        "upscale", "a.png", "--config", config, "--json", "--seed", 9
    )  # a flag, before both
    assert ran.records[0]["seed"] == 9
    monkeypatch.setenv("COSER_CONFIG", str(config))
    assert coser("upscale", "a.png").out == "a_2x.png\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[upscale]\nstepz = 3\n", "unknown key 'stepz'"),
        ("[upscale\n", "cannot read"),
        ("upscale = 3\n", "must be a table"),
    ],
)
def test_bad_config_file(coser, photo, tmp_path, content, words):
    photo("a.png")
    (tmp_path / "c.toml").write_text(content)
    ran = coser("upscale", "a.png", "--config", "c.toml")
    assert ran.code == Exit.USAGE
    assert words in ran.err
    assert ran.err.count("\n") == 1
    assert not os.path.exists("a_4x.png")


def test_value_out_of_range_in_the_config_file_names_the_option(coser, photo, tmp_path):
    photo("a.png")
    (tmp_path / "c.toml").write_text("[upscale]\nsteps = 5000\n")
    ran = coser("upscale", "a.png", "--config", "c.toml")
    assert ran.code == Exit.USAGE
    assert "--steps" in ran.err


def test_documented_config_is_valid_toml():
    from tools.cli_docs import markdown

    block = markdown.CONVENTIONS.split("```toml\n")[1].split("```")[0]
    assert tomllib.loads(block)["upscale"]["guidance-scale"] == 2.5


@pytest.mark.parametrize(
    "words",
    [
        ["-s", "0.5"],
        ["-s", "17"],
        ["-s", "x"],
        ["--steps", "0"],
        ["--steps", "1001"],
        ["--sampler", "none"],
        ["--guidance-scale", "0.9"],
        ["--strength", "1.1"],
        ["--fidelity", "-0.1"],
        ["--device", "abacus"],
        ["--unknown"],
        ["--save-reference", "--reference-mode", "none"],
        ["-o", "x.unknown"],
        ["-o", "a.png"],
        ["-o", "a.png/sub"],
    ],
)
def test_wrong_usage(coser, photo, words):
    photo("a.png")
    before = sorted(os.listdir())
    ran = coser("upscale", "a.png", *words)
    assert ran.code == Exit.USAGE
    assert ran.err
    assert sorted(os.listdir()) == before


def test_no_inputs(coser):
    assert coser("upscale").code == Exit.USAGE


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_input_is_not_overwritten_through_a_link(coser, photo, link):
    path = photo("a.png")
    content = path.read_bytes()
    link("a.png", "b.png")
    ran = coser("upscale", "a.png", "-o", "b.png", "--overwrite")
    assert ran.code == Exit.USAGE
    assert "inputs are never overwritten" in ran.err
    assert path.read_bytes() == content


def test_input_is_not_overwritten_by_another_inputs_result(coser, photo):
    photo("a.png")
    photo("a_4x.png")
    ran = coser("upscale", "a.png", "a_4x.png", "--overwrite")
    assert ran.code == Exit.USAGE
    assert sorted(os.listdir()) == ["a.png", "a_4x.png"]


def test_collisions_are_found_before_anything_runs(coser, photo):
    photo("a.png")
    photo("a.jpg")
    ran = coser("upscale", "a.png", "a.jpg", "--name", "same.png")
    assert ran.code == Exit.USAGE
    assert "would both be written" in ran.err
    assert sorted(os.listdir()) == ["a.jpg", "a.png"]
    assert coser("upscale", "a.png", "a.jpg").code == Exit.OK
    assert sorted(os.listdir()) == ["a.jpg", "a.png", "a_jpg_4x.png", "a_png_4x.png"]


def test_one_output_file_for_two_inputs(coser, photo):
    photo("a.png")
    photo("b.png")
    ran = coser("upscale", "a.png", "b.png", "-o", "c.png")
    assert ran.code == Exit.USAGE
    assert "2 inputs" in ran.err


def test_missing_weights_of_a_part(coser, photo, weights):
    photo("a.png")
    file = weights / "toy" / "unet" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_suffix(".away"))
    try:
        ran = coser("upscale", "a.png")
    finally:
        file.with_suffix(".away").rename(file)
    assert ran.code == Exit.WEIGHTS
    assert "unet" in ran.err
    assert ran.err.count("\n") == 1


def test_device_that_is_not_there(coser, photo):
    import torch

    photo("a.png")
    device = "cuda" if not torch.cuda.is_available() else "mps"
    ran = coser("upscale", "a.png", "--device", device)
    assert ran.code == Exit.DEVICE
    assert device in ran.err
    assert ran.err.count("\n") == 1


def test_result_too_large_for_the_format_is_known_before_the_work(coser, photo):
    photo("wide.png", size=(2000, 1))
    ran = coser("upscale", "wide.png", "-s", 16, "-o", "wide.webp")
    assert ran.code == Exit.FAILED
    assert "WEBP ends at 16383" in ran.err


def test_result_above_the_temporary_space(coser, photo, monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**6))
    photo("large.png", size=(500, 500))
    ran = coser("upscale", "large.png", "-s", 4)
    assert ran.code == Exit.FAILED
    assert "of temporary space are needed" in ran.err
    assert "--temp-dir" in ran.err
    assert os.listdir() == ["large.png"]


def test_folder_in_the_place_of_the_result(coser, photo):
    photo("a.png")
    os.mkdir("a_4x.png")
    ran = coser("upscale", "a.png", "--overwrite")
    assert ran.code == Exit.FAILED
    assert "it is a folder" in ran.err


def test_name_that_grows_too_long(coser, photo):
    photo(f"{'n' * 250}.png")
    ran = coser("upscale", f"{'n' * 250}.png", "-s", 1)
    assert ran.code == Exit.FAILED
    assert "too long" in ran.err


@pytest.mark.parametrize("command_name", ["upscale", "reference"])
def test_memory_options_change_no_pixel(coser, photo, command_name):
    photo("a.png")
    assert coser(command_name, "a.png", "-s", 2, "-o", "plain.png").code == Exit.OK
    plain = np.asarray(Image.open("plain.png")).astype(int)
    for flags in (*(("--offload", each) for each in OFFLOADS), ("--low-memory",)):
        ran = coser(command_name, "a.png", "-s", 2, "-o", "lean.png", "--overwrite", *flags)
        assert (ran.code, ran.err) == (Exit.OK, "")
        lean = np.asarray(Image.open("lean.png")).astype(int)
        # tiles are rounded otherwise
        assert abs(plain - lean).max() <= ("--low-memory" in flags)


def test_memory_options_from_variables_and_files(coser, photo, tmp_path, monkeypatch):
    photo("a.png")
    with monkeypatch.context() as patched:
        patched.setenv("COSER_LOW_MEMORY", "1")
        patched.setenv("COSER_OFFLOAD", "model")
        refused = coser("upscale", "a.png", "-s", 1)
    assert refused.code == Exit.USAGE
    assert "low memory is more than offload model" in refused.err
    Path("c.toml").write_text('[upscale]\nlow_memory = true\noffload = "none"\n')
    assert coser("upscale", "a.png", "-s", 1, "--config", "c.toml").code == Exit.USAGE
    assert coser("upscale", "a.png", "-s", 1, "--offload", "disk").code == Exit.USAGE
    assert sorted(os.listdir()) == ["a.png", "c.toml"]


def test_what_auto_offload_gives_up_is_said(coser, photo, weights, monkeypatch):
    photo("a.png")
    total = sum(size.total for size in part_sizes(weights / "toy", torch.float32).values())
    monkeypatch.setattr(memory, "available_memory", lambda _: int(1.5 * total))
    ran = coser("upscale", "a.png", "-s", 1)
    assert ran.code == Exit.OK
    assert ran.err.count("--offload model") == 1
    assert "are free on cpu" in ran.err
    assert coser("upscale", "a.png", "-s", 1, "--overwrite", "-q").err == ""


class Interrupting:
    """An upscaler under whose second picture the user presses Ctrl-C."""

    def __init__(self, real):
        self.real = real
        self.calls = 0

    def __getattr__(self, name):
        return getattr(self.real, name)

    def upscale(self, *args, **options):
        self.calls += 1
        if self.calls == 2:
            raise KeyboardInterrupt
        return self.real.upscale(*args, **options)


def test_interruption_says_how_to_go_on_and_goes_on(coser, photo, monkeypatch):
    names = ["a.png", "b.png", "c.png"]
    for name in names:
        photo(name)
    original = load.load_model
    with monkeypatch.context() as patched:
        patched.setattr(load, "load_model", lambda *args: Interrupting(original(*args)))
        ran = coser("upscale", *names, "-s", 1)
    assert ran.code == Exit.INTERRUPTED
    assert ran.out == "a_1x.png\n"
    assert "stopped after 1 of 3; run the same command again to continue" in ran.err
    assert sorted(os.listdir()) == ["a.png", "a_1x.png", "b.png", "c.png"]
    again = coser("upscale", *names, "-s", 1)
    assert again.code == Exit.OK
    assert "2 done, 1 skipped, 0 failed" in again.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fast", "--best"], "--fast and --best exclude each other"),
        (["--guidance-interval", "0.6", "0.4"], "guidance_interval must be two numbers"),
        (["--guidance-interval", "0.5"], "guidance-interval"),
        (["--reference-steps", "0"], "--reference-steps"),
    ],
)
def test_settings_that_do_not_fit_are_refused(words, message, coser, photo):
    photo("a.png")
    ran = coser("upscale", "a.png", *words)
    assert ran.code == Exit.USAGE
    assert message in ran.err


def test_repeated_with_all_settings_it_is_the_same(coser, photo):
    photo("a.png")
    how = ["--guidance-interval", "0.2", "0.8", "--reference-steps", "1", "--steps", "3"]
    assert coser("upscale", "a.png", *how, "-o", "one.png").code == Exit.OK
    (record,) = coser("info", "one.png", "--json").records
    command = record["command"]
    assert command[command.index("--guidance-interval") :][:3] == how[:3]
    assert coser(*command[1:]).code == Exit.OK
    first, again = (np.asarray(Image.open(name)) for name in ("one.png", "one-again.png"))
    assert np.array_equal(first, again)
