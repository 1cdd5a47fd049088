"""A toy model measured over a small grid: what is measured, resumed, confirmed, drawn and told."""

import json
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from json_page import check
from PIL import Image

from coser_cli.cli.app import main
from coser_cli.evaluation.crops import read_crops
from coser_cli.evaluation.metrics import METRICS
from coser_cli.evaluation.noise import compare
from coser_cli.evaluation.plot import draw
from coser_cli.evaluation.quality import SEED_STEP, measure_grid, measure_row, subject_of
from coser_cli.evaluation.row_store import RowStore
from coser_cli.evaluation.settings_grid import Grid

GRID = Grid(("ddim", "ddpm"), (1, 2), ((0.0, 1.0), (0.5, 1.0)), seeds=(4, 5), baseline_steps=2)
"""Without diffusion; two samplers with two steps and two intervals; a baseline of two seeds."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two pairs, large enough for the metrics."""
    root = tmp_path_factory.mktemp("sets") / "small"
    rng = np.random.default_rng(0)
    for name in "ab":
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        for folder, side in (("LR", 20), ("HR", 80)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            coarse.resize((side, side)).save(root / folder / f"{name}.png")
    return root


@pytest.fixture(scope="module")
def crops(pictures):
    return read_crops([pictures], 16, 4)


@pytest.fixture(scope="module")
def measured(upscaler, crops, model, tmp_path_factory):
    """A comparison, the file of its rows, and what was told."""
    file, told = tmp_path_factory.mktemp("rows") / "rows.jsonl", []
    store = RowStore(subject_of(model, upscaler, crops), upscaler.model.config, file)
    found = measure_grid(upscaler, crops, GRID, store, lambda *each: told.append(each))
    return found, file, told


def test_everything_is_measured_once(upscaler, measured):
    found, file, told = measured
    runs = GRID.runs(upscaler.model.config)
    assert [settings for settings, *_ in told[: len(runs)]] == runs
    assert [done for _, done, _ in told] == list(range(len(told)))
    assert found.missing == 0
    assert len(file.read_text().splitlines()) == len(told) == len({each[0] for each in told})


def test_each_picture_has_noise_of_its_own(upscaler, crops):
    same = replace(
        crops, low=crops.low[:1].repeat(2, 1, 1, 1), high=crops.high[:1].repeat(2, 1, 1, 1)
    )
    settings = GRID.baseline.resolve(upscaler.model.config)
    row = measure_row(upscaler, same, settings)
    assert row.metrics["psnr_y"][0] != row.metrics["psnr_y"][1]
    single = replace(same, names=same.names[:1], low=same.low[:1], high=same.high[:1])
    alone = measure_row(upscaler, single, settings)
    assert alone.metrics["psnr_y"][0] == pytest.approx(row.metrics["psnr_y"][0], abs=1e-3)
    still = measure_row(upscaler, same, GRID.without_diffusion.resolve(upscaler.model.config))
    assert still.metrics["psnr_y"][0] == still.metrics["psnr_y"][1]


def test_the_best_has_held_with_every_seed(measured):
    best = measured[0].best
    assert best is None or best.seeds == 2


@pytest.fixture
def rows(upscaler, crops, model, measured):
    """A store of its own with all that has been measured."""
    store = RowStore(subject_of(model, upscaler, crops), upscaler.model.config, measured[1])
    store.file = None
    return store


def test_the_best_is_measured_again_until_one_holds(upscaler, crops, rows):
    """Whatever is within noise with one seed, here everything: a baseline with vast noise."""
    store = rows
    baseline = GRID.with_seeds(GRID.baseline.resolve(upscaler.model.config))
    for settings, value in zip(baseline, (-100.0, 100.0), strict=True):
        metrics = dict.fromkeys(("st_lpips", "psnr_y"), (value, value))
        store.rows[settings] = replace(store.rows[settings], metrics=metrics)
    told = []
    found = measure_grid(upscaler, crops, GRID, store, lambda *each: told.append(each))
    assert found.best is not None
    assert found.best.seeds == 2
    assert found.best.evaluations.total == min(
        each.evaluations.total for each in found.results if each.settings.strength
    )
    assert {each[0].seed for each in told} <= {5}


def test_what_is_there_is_not_measured_again(upscaler, crops, model, measured):
    found, file, told = measured
    lines = file.read_text().splitlines(keepends=True)
    config, subject, again = upscaler.model.config, subject_of(model, upscaler, crops), []

    def go_on():
        again.clear()
        store = RowStore(subject, config, file)
        return measure_grid(upscaler, crops, GRID, store, lambda *each: again.append(each))

    assert go_on() == found
    assert again == []
    kept = [line for index, line in enumerate(lines) if index not in (2, 5)]
    file.write_text("".join(kept))
    resumed = go_on()
    assert [each[0] for each in again] == [told[2][0], told[5][0]]
    assert [each.values for each in resumed.results] == [each.values for each in found.results]


def test_a_row_holds_every_picture_at_8_bits(upscaler, crops):
    settings = upscaler.resolve(GRID.baseline)
    row = measure_row(upscaler, crops, settings)
    for index in range(2):
        low, high = crops.low[index : index + 1], crops.high[index : index + 1]
        own = replace(settings, seed=settings.seed + SEED_STEP * index)
        result = (upscaler.upscale(low, own).pixels * 255).round() / 255
        for name in ("st_lpips", "psnr_y"):
            assert row.metrics[name][index] == pytest.approx(
                METRICS[name].measure(result, high), abs=1e-5
            )
    assert row.seconds > 0


def test_other_pictures_or_weights_are_another_subject(upscaler, crops, model, pictures):
    subject = subject_of(model, upscaler, crops)
    assert subject.model == model.name
    other = subject_of(model, upscaler, read_crops([pictures], 17, 4))
    assert replace(other, pictures=subject.pictures) == subject != other


def test_the_drawing_is_svg_and_always_the_same(measured):
    found, *_ = measured
    drawn = draw(found, "toy & <pictures>")
    assert drawn == draw(found, "toy & <pictures>")
    root = ElementTree.fromstring(drawn)
    assert root.tag.endswith("svg")
    text = " ".join("".join(each.itertext()) for each in root.iter() if each.tag.endswith("text"))
    for words in ("toy & <pictures>", "ST-LPIPS", "PSNR-Y", "noise of ddpm, 2 steps", "ddim",
                  "without diffusion", "evaluations of the U-Net"):  # fmt: skip
        assert words in text, words
    assert b"<dc:date>" not in drawn
    assert len(drawn) < 100_000


def test_a_drawing_of_what_little_is_there(upscaler, measured):
    config = upscaler.model.config
    ElementTree.fromstring(draw(compare(GRID, {}, config), "nothing"))


@pytest.fixture
def quality(model, pictures, monkeypatch, capsys, tmp_path):
    """`coser bench quality` on the pictures: exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    for name in ("COSER_MODEL", "COSER_DEVICE", "COSER_DTYPE"):
        monkeypatch.delenv(name, raising=False)

    def run(*args, sets=(pictures,)):
        words = ["bench", "quality", *sets, "--model", model, "--device", "cpu", "--crop", 16]
        few = ["--samplers", "ddim", "--steps", "1", "--baseline-steps", 2, "--seeds", 2]
        code = main([str(each) for each in (*words, *few, *args)])
        return code, *capsys.readouterr()

    return run


def test_a_table_a_file_and_a_drawing(quality, tmp_path):
    code, out, err = quality("--results", "rows.jsonl", "--plot", "q.svg")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("| sampler | steps | reference |")
    assert [line.count("|") for line in lines[:6]] == [14] * 6
    assert sum(" baseline |" in line for line in lines[2:6]) == 1
    assert "pictures: 2; settings not measured: 0" in lines
    assert lines[-1].startswith("best: ")
    assert "1 of " in err
    assert "drawn: 'q.svg'" in err
    ElementTree.parse(tmp_path / "q.svg")
    before = (tmp_path / "rows.jsonl").read_bytes()
    again = quality("--results", "rows.jsonl", "--measured")
    assert again == (0, out, "")
    assert (tmp_path / "rows.jsonl").read_bytes() == before
    _, fewer, _ = quality("--results", "rows.jsonl", "--measured", "--count", 1)
    assert "pictures: 1; settings not measured: 4" in fewer


def test_json(quality):
    code, out, _ = quality("--quiet", "--json", "--results", "rows.jsonl")
    assert code == 0
    records = [json.loads(line) for line in out.splitlines()]
    check(records, "noise", *["setting"] * (len(records) - 2), records[-1]["type"])
    settings = [each["settings"] for each in records[1:-1]]
    assert [each["sampler"] for each in settings if each["strength"]][-1] == "ddpm"
    code, out, _ = quality("--json", "--results", "rows.jsonl", "--measured", "--seed", 7)
    assert code == 0  # nothing is there of these seeds
    check([json.loads(line) for line in out.splitlines()], "noise", "best")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--samplers", "ddim,magic"], 2, "--samplers: 'magic' is none of ddpm, ddim"),
        (["--steps", "4,x"], 2, "--steps: 'x' is no whole number from 1 to 1000"),
        (["--steps", ""], 2, "--steps: '' is no whole number"),
        (["--steps", "4,0"], 2, "--steps: '0' is no whole number"),
        (["--intervals", "0.2"], 2, "--intervals: '0.2' is no interval such as 0.2-0.8"),
        (["--intervals", "0.8-0.2"], 2, "--intervals: '0.8-0.2' must be two numbers from 0 to 1"),
        (["--reference-steps", "half"], 2, "--reference-steps: 'half' is no whole number"),
        (["--strength", "0"], 2, "strength 0 leaves diffusion out; give --strength above 0"),
        (["--seeds", "1"], 2, "--seeds"),
        (["--crop", "21"], 1, "20×20 pixels are less than a patch of 21×21; give a smaller --crop"),
        (["--measured"], 2, "--measured reports a file that is there; name it with --results"),
        (["--plot", "q.png"], 2, "--plot: 'q.png' is no name of an SVG; end it in .svg"),
        (["--plot", "none/q.svg"], 2, "--plot: 'none/q.svg' can be no file"),
        (["--plot", "old.svg"], 2, "'old.svg' exists; give --overwrite to draw it again"),
        (["--results", "old.svg"], 2, "'old.svg', line 1: not JSON"),
        (["--results", "."], 2, "--results: '.' can be no file"),
        (["--model", "nowhere"], 3, "there is no model 'nowhere'"),
        (["nowhere"], 2, "has no HR/ and LR/"),
    ],
)
def test_refuses(quality, tmp_path, args, code, message):
    (tmp_path / "old.svg").write_text("old\n")
    found, out, error = quality(*args)
    assert found == code
    assert message in " ".join(error.split())
    assert len(error.splitlines()) == 1 or "Usage" in error
    assert out == ""
    assert (tmp_path / "old.svg").read_text() == "old\n"


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("matplotlib", ["--plot", "q.svg"], "the plot needs matplotlib, which is not installed"),
        ("torchmetrics", [], "the metrics need torchmetrics, which is not installed"),
    ],
)
def test_optional_packages(quality, monkeypatch, name, args, message):
    monkeypatch.setitem(sys.modules, name, None)
    code, _, error = quality(*args)
    assert (code, error) == (2, f"coser: {message}; pip install 'coser-cli[eval]'\n")


def test_batches_are_what_single_pictures_are(upscaler, crops):
    """The measuring splits as the device likes; rows must not depend on it."""
    settings = upscaler.resolve(GRID.baseline)
    together = upscaler.upscale(crops.low, settings).pixels
    alone = torch.cat([upscaler.upscale(each, settings).pixels for each in crops.low.split(1)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_a_best_that_was_found_before_is_confirmed_as_well(upscaler, crops, rows):
    store = rows
    found = measure_grid(upscaler, crops, GRID, store, lambda *_: None)
    if found.best is None:
        pytest.skip("nothing is within noise of this toy's baseline")
    others = GRID.with_seeds(found.best.settings)[1:]
    for each in others:
        del store.rows[each]
    told = []
    measure_grid(upscaler, crops, GRID, store, lambda settings, *_: told.append(settings))
    assert told == others
