"""A toy model measured on two tiny pairs, whole and in parts, and `coser evaluate`."""

import json
from statistics import fmean

import numpy as np
import pytest
import torch
from PIL import Image

from coser_cli.cli.app import main
from coser_cli.errors import InputError
from coser_cli.evaluation.metrics import psnr_y
from coser_cli.evaluation.protocol import ROWS, find_pairs, measure
from coser_cli.settings import Settings

SETTINGS = Settings(scale=4.0)
METRIC = ["psnr_y", "ssim_y"]


@pytest.mark.parametrize("row", ROWS)
def test_every_row_enlarges(upscaler, pairs, row):
    for pair in find_pairs(pairs):
        _, low = pair.read()
        found = ROWS[row](upscaler, low, SETTINGS)
        assert found.shape == (1, 3, 4 * low.shape[-2], 4 * low.shape[-1])
        assert found.isfinite().all()


def test_rows_differ(upscaler, pairs):
    found = [measure(upscaler, pairs, SETTINGS, row, METRIC)["psnr_y"] for row in ROWS]
    assert len(set(found)) == len(ROWS)


def test_rows_are_what_they_say(upscaler, pairs):
    _, low = find_pairs(pairs)[0].read()
    plain = upscaler.upscale(low, Settings(strength=0)).pixels
    assert torch.equal(ROWS["no-diffusion"](upscaler, low, SETTINGS), plain)
    assert torch.equal(ROWS["everything"](upscaler, low, SETTINGS), upscaler.upscale(low).pixels)
    enlarged = upscaler.prepare(low).enlarged  # of the SRResNet, in this model
    assert torch.equal(ROWS["srresnet"](upscaler, low, SETTINGS), enlarged)
    levels = (low[0] * 255).byte().permute(1, 2, 0).numpy()
    expected = Image.fromarray(levels).resize((32, 24), Image.Resampling.BICUBIC)
    found = (ROWS["bicubic"](upscaler, low, SETTINGS)[0] * 255).round().byte()
    assert np.array_equal(found.permute(1, 2, 0).numpy(), np.array(expected))


def test_the_same_every_time(upscaler, pairs):
    twice = [measure(upscaler, pairs, SETTINGS, "everything", METRIC) for _ in range(2)]
    assert twice[0] == twice[1]
    assert list(twice[0]) == ["pictures", *METRIC]


def test_mean_over_the_pairs_cut_to_the_same_size(upscaler, pairs):
    values = []
    for pair in find_pairs(pairs):
        high, low = pair.read()
        found = ROWS["bicubic"](upscaler, low, SETTINGS)
        height, width = (min(found.shape[i], high.shape[i]) for i in (-2, -1))
        values.append(psnr_y(found[..., :height, :width], high[..., :height, :width]))
    found = measure(upscaler, pairs, SETTINGS, "bicubic", ["psnr_y"])
    assert found == {"pictures": 2, "psnr_y": pytest.approx(fmean(values), abs=1e-4)}


def test_pairs_by_name(pairs, tmp_path):
    found = find_pairs(pairs)
    assert [(pair.high.name, pair.low.name) for pair in found] == [("a.png",) * 2, ("b.png",) * 2]
    with pytest.raises(InputError, match="no HR/ and LR/"):
        find_pairs(tmp_path)
    for folder, name in (("HR", "a.png"), ("LR", "b.png")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch()
    with pytest.raises(InputError, match="of the same names"):
        find_pairs(tmp_path)


@pytest.fixture
def evaluate(model, pairs, monkeypatch, capsys):
    """`coser evaluate` on the pairs: exit code, stdout and stderr."""
    for name in ("COSER_MODEL", "COSER_DEVICE", "COSER_DTYPE"):
        monkeypatch.delenv(name, raising=False)

    def run(*args):
        standard = ["evaluate", pairs, "--model", model, "--device", "cpu", *args]
        code = main([str(arg) for arg in standard])
        return code, *capsys.readouterr()

    return run


def test_coser_evaluate_prints_a_line_per_row(evaluate):
    code, out, _ = evaluate("--metrics", "psnr_y")
    assert code == 0
    lines = out.splitlines()
    assert [line.split("  ")[:3] for line in lines] == [
        ["set pair", "row bicubic", "pictures 2"],
        ["set pair", "row everything", "pictures 2"],
    ]


def test_coser_evaluate_in_json(evaluate, upscaler, pairs):
    code, out, _ = evaluate("--rows", "all", "--metrics", "psnr_y, ssim_y", "--json")
    assert code == 0
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["row"] for record in records] == list(ROWS)
    expected = measure(upscaler, pairs, SETTINGS, "everything", METRIC)
    head = {"type": "evaluation", "version": 1, "set": "pair", "row": "everything"}
    assert records[-1] == {**head, **expected}


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--rows", "bicubic,magic"], 2, "--rows: 'magic' is none of bicubic, srresnet"),
        (["--metrics", "lpips"], 2, "--metrics: 'lpips' is none of psnr_y"),
        (["--scale", "99"], 2, "--scale"),
        (["--model", "nowhere"], 3, "there is no model 'nowhere'"),
        (["nowhere"], 1, "nowhere: no HR/ and LR/"),
    ],
)
def test_coser_evaluate_refuses(evaluate, args, code, message):
    found, _, error = evaluate("--metrics", "psnr_y", *args)
    assert found == code
    assert message in " ".join(error.split())


def test_coser_evaluate_wants_a_set(capsys):
    assert main(["evaluate"]) == 2
    assert "SETS" in capsys.readouterr().err
