"""Scores of pictures whose scores are known, what they say together, and the files of them."""

import csv
import json
from statistics import fmean

import pytest
import torch
from PIL import Image

from coser_cli.errors import InputError, UsageError
from coser_cli.evaluation.comparison import differences, summaries, write_scores
from coser_cli.evaluation.details import details, most_different
from coser_cli.evaluation.methods import Folder
from coser_cli.evaluation.metrics import METRICS
from coser_cli.evaluation.pairs import find_set, read_pixels, results_for, set_of_folders
from coser_cli.evaluation.protocols import Protocol
from coser_cli.evaluation.scores import EQUAL_PSNR, Measurement, require_references

PSNR = [METRICS["psnr_y"]]


def no_progress(*_):
    pass


@pytest.fixture
def grey(tmp_path):
    """`grey(folder, size, **levels)`: a folder of flat pictures, one per level."""

    def make(folder, size=(40, 36), **levels):
        place = tmp_path / folder
        place.mkdir()
        for name, level in levels.items():
            Image.new("RGB", size, (level,) * 3).save(place / f"{name}.png")
        return place

    return make


def run(reference, results, metrics=PSNR, **more):
    pictures = set_of_folders("set", reference, None)
    method = Folder(results.name, results_for(pictures, results)[0])
    return Measurement(pictures, metrics, **more).run(method, no_progress)


def test_values_of_known_errors(grey):
    truth = grey("truth", a=100, b=100, c=100)
    scores = run(truth, grey("tool", a=101, b=110, c=100))
    decibels = [each.values["psnr_y"] for each in scores.scores]
    unit = 219 / 255 / 255  # one grey level, in luma
    expected = [-20 * torch.tensor(unit * each).log10().item() for each in (1, 10)]
    assert decibels == pytest.approx([*expected, EQUAL_PSNR], abs=1e-3)
    assert summaries(scores, PSNR)["psnr_y"].mean == pytest.approx(fmean(decibels))


def test_methods_are_compared_on_the_pictures_that_both_have(grey):
    truth = grey("truth", a=100, b=100, c=100, d=100)
    good = run(truth, grey("good", a=101, b=102, c=110))
    bad = run(truth, grey("bad", b=104, c=105, d=100))
    (found,) = differences([bad, good], PSNR)
    assert (found.method, found.against, found.pictures) == ("good", "bad", ("b", "c"))
    assert (found.paired.wins, found.paired.losses) == (1, 1)
    assert [name for name, _ in found.extremes(1)] == ["b", "c"]
    (turned,) = differences([bad, good], PSNR, against="good")
    assert turned.paired.mean == pytest.approx(-found.paired.mean)
    assert differences([good], PSNR) == []


def test_sizes_may_differ_by_what_does_not_fit_the_scale(grey):
    truth = grey("truth", (43, 39), a=100)
    assert len(run(truth, grey("cut", (40, 36), a=100)).scores) == 1
    with pytest.raises(UsageError, match=r"a: the result has 39×36 pixels, the true picture 43×39"):
        run(truth, grey("small", (39, 36), a=100))


def test_a_protocol_takes_the_middle(tmp_path):
    protocol = Protocol("toy", "Toy", pictures=1, side=32, scale=4)
    for folder, border in (("truth", 0), ("tool", 255)):
        (tmp_path / folder).mkdir()
        image = Image.new("RGB", (64, 48), (border,) * 3)
        image.paste((90, 90, 90), (16, 8, 48, 40))
        image.save(tmp_path / folder / "a.png")
    scores = run(tmp_path / "truth", tmp_path / "tool", protocol=protocol)
    assert scores.scores[0].values["psnr_y"] == EQUAL_PSNR
    assert protocol.notes(1) == ()
    assert "Toy has 1 pictures, these are 5" in protocol.notes(5)[0]


def test_results_are_kept_as_files(pairs, upscaler, tmp_path):
    from coser_cli.evaluation.methods import computed
    from coser_cli.settings import Settings

    method = computed("bicubic", Settings(scale=4.0), lambda: upscaler)
    pictures = find_set(pairs)
    scores = Measurement(pictures, PSNR, keep=tmp_path).run(method, no_progress)
    assert scores.images == {name: tmp_path / "bicubic" / f"{name}.png" for name in ("a", "b")}
    again = Measurement(pictures, PSNR).run(Folder("kept", scores.images), no_progress)
    assert [each.values for each in again.scores] == [each.values for each in scores.scores]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        Measurement(pictures, PSNR, keep=tmp_path / "file").run(method, no_progress)


def test_metrics_without_truth(grey):
    pictures = set_of_folders("tool", None, grey("tool", a=1))
    with pytest.raises(UsageError, match="psnr_y need true pictures; give --reference"):
        require_references(pictures, [*PSNR, METRICS["niqe"]])
    require_references(pictures, [METRICS["niqe"]])


def test_files_of_scores(grey, tmp_path):
    metrics = [METRICS["psnr_y"], METRICS["halo"]]
    truth = grey("truth", a=100, b=100)
    scores = [
        run(truth, grey(name, a=level, b=90), metrics) for name, level in (("x", 99), ("y", 7))
    ]
    write_scores(tmp_path / "s.csv", scores)
    with (tmp_path / "s.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["picture"]) for row in rows] == [
        ("x", "a"), ("x", "b"), ("y", "a"), ("y", "b"),
    ]  # fmt: skip
    assert float(rows[0]["psnr_y"]) == scores[0].scores[0].values["psnr_y"]
    write_scores(tmp_path / "s.jsonl", scores)
    lines = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [line["psnr_y"] for line in lines] == [float(row["psnr_y"]) for row in rows]
    assert lines[0].keys() == {"type", "set", "row", "picture", "psnr_y", "halo", "seconds"}
    with pytest.raises(InputError, match="cannot write"):
        write_scores(tmp_path / "none" / "s.csv", scores)


def test_details_are_taken_where_results_differ():
    first = torch.full((1, 3, 300, 400), 0.5)
    second = first.clone()
    second[..., 200:220, 300:320] += 0.2
    top, left = most_different([first, second], 64)
    assert top <= 200 and top + 64 >= 220 and left <= 300 and left + 64 >= 320
    cut = details([first, second, first[..., :299, :398]], 2, 64)
    assert [each.size for each in cut] == [(64, 64)] * 3
    assert cut[1].getextrema()[0] == (128, 178)
    assert [each.size for each in details([first[..., :20, :30]] * 2, 2)] == [(30, 20)] * 2


def test_read_pixels_of_a_damaged_file(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a\.png"):
        read_pixels(tmp_path / "a.png")
