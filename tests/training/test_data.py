"""Pictures from lists, class folders and shards; and the examples cut from them."""

import io
import json
import tarfile
from itertools import chain, islice

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from coser_cli.errors import UsageError
from coser_cli.training.data import (
    Siblings,
    as_sentence,
    cut,
    open_source,
    read_image,
    require_captions,
    split_rows,
)
from coser_cli.training.degradation import DegradationConfig, read_degradation, resize
from coser_cli.training.examples import ExampleConfig, PhotoExamples, Share, load, noise_of

from .conftest import smooth

PLAIN = ExampleConfig(32, degradation=DegradationConfig(bicubic=1, blur_only=0))


def png(rng, size=(40, 48)):
    buffer = io.BytesIO()
    smooth(rng, *size).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def shards(tmp_path):
    """Two shards of three samples, written by webdataset."""
    rng = np.random.default_rng(3)
    for shard in range(2):
        with webdataset.TarWriter(str(tmp_path / f"{shard:03d}.tar")) as writer:
            for number in range(3):
                key = f"{shard}{number}"
                writer.write(
                    {"__key__": key, "png": png(rng), "txt": f"caption {key}", "cls": shard}
                )
    return tmp_path


def test_a_list_gives_captions(photos):
    source = open_source(photos)
    assert [picture.caption for picture in source.pictures][2] == "two boats in the harbour"
    assert read_image(source, 3).size == (50, 40)


def test_class_folders_give_classes_and_captions(classes):
    source = open_source(classes)
    assert {picture.label for picture in source.pictures} == {"owl", "red_boat"}
    assert {picture.caption for picture in source.pictures} == {"owl", "red boat"}
    assert as_sentence("red boat") == "a photo of red boat"


def test_a_text_beside_a_picture_and_a_table_of_classes_go_first(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "n01440764").mkdir()
    for name in "ab":
        (tmp_path / "n01440764" / f"{name}.png").write_bytes(png(rng))
    with pytest.raises(UsageError, match=r"2 of 2 pictures have no caption.*classes\.tsv"):
        require_captions(open_source(tmp_path), tmp_path)
    (tmp_path / "classes.tsv").write_text("folder\tname\nn01440764\ttench\n")
    (tmp_path / "n01440764" / "a.txt").write_text("a fish in the hands of a man\n")
    captions = [picture.caption for picture in open_source(tmp_path).pictures]
    assert captions == ["a fish in the hands of a man", "tench"]


def test_shards_are_what_webdataset_reads(shards):
    source = open_source(shards)
    urls = [str(shards / f"00{n}.tar") for n in range(2)]
    stream = webdataset.WebDataset(urls, shardshuffle=False)
    samples = list(stream)
    assert len(samples) == len(source.pictures) == 6
    for index, sample in enumerate(samples):
        assert source.read(index) == sample["png"]
        assert source.pictures[index].caption == sample["txt"].decode()
        assert source.pictures[index].label == sample["cls"].decode()


def test_an_index_is_kept_and_made_again_for_another_tar(shards):
    open_source(shards)
    kept = shards / "000.tar.index.json"
    assert len(json.loads(kept.read_text())["samples"]) == 3
    with tarfile.open(shards / "000.tar", "a") as tar:
        data = png(np.random.default_rng(9))
        member = tarfile.TarInfo("new.png")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    assert len(open_source(shards).pictures) == 7


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no picture in it"),
        ({"captions.tsv": b"file\tcaption\na.png\tcat\n"}, "must name file and label_or_caption"),
        ({"captions.tsv": b"file\tlabel_or_caption\n"}, "empty"),
        ({"captions.tsv": b"file\tlabel_or_caption\na.png\tcat\n"}, "no such picture: .*a.png"),
        ({"a.tar": b"\x1f\x8bnot a tar" * 100}, "not a plain tar"),
    ],
)
def test_folders_that_are_refused(tmp_path, files, message):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=message):
        open_source(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        open_source(tmp_path / "elsewhere")


def test_references_are_other_pictures_of_the_class(classes):
    source = open_source(classes)
    siblings, rng = Siblings(source, np.arange(8)), np.random.default_rng(0)
    for row in range(8):
        chosen = {siblings.choose(row, rng) for _ in range(30)}
        group = {i for i, p in enumerate(source.pictures) if p.label == source.pictures[row].label}
        assert chosen == group - {row}


def test_classes_that_have_no_references_are_refused(classes, photos):
    with pytest.raises(UsageError, match="'owl' has a single picture"):
        Siblings(open_source(classes), np.array([0, 4, 5]))
    with pytest.raises(UsageError, match="has no class"):
        Siblings(open_source(photos), np.arange(4))


def test_pictures_held_out_are_chosen_by_name(classes):
    source = open_source(classes)
    rows, held = split_rows(source, 3)
    assert sorted([*rows, *held]) == list(range(8))
    assert 0 < len(held) < 8
    assert {int(row) % 4 for row in held}.isdisjoint(int(row) % 4 for row in rows)
    assert len(split_rows(source, 0)[1]) == 0
    with pytest.raises(UsageError, match="every picture is held out"):
        split_rows(source, 1)


@pytest.mark.parametrize("size", [(90, 80), (64, 64), (40, 50)])
def test_crops_of_any_picture_are_full_size(size):
    image = smooth(np.random.default_rng(0), *size)
    for seed in range(6):
        crop = cut(image, 64, np.random.default_rng(seed))
        assert crop.shape == (3, 64, 64) and crop.dtype == np.uint8 and crop.flags.c_contiguous


def test_an_example_depends_on_its_number_only(classes):
    source = open_source(classes)
    config = ExampleConfig(32, references="same_class")
    examples, again = (PhotoExamples(source, np.arange(8), config) for _ in range(2))
    one = examples[13]
    for number in range(3):
        again[number]
    for name, value in again[13].items():
        same = torch.equal(value, one[name]) if torch.is_tensor(value) else value == one[name]
        assert same, name
    assert examples[14]["seed"] != one["seed"]
    assert one["high"].shape == one["reference"].shape == (3, 32, 32)
    assert not torch.equal(one["high"], one["reference"])


def test_an_epoch_has_every_picture_once(classes):
    examples = PhotoExamples(open_source(classes), np.arange(8), PLAIN)
    rows = [examples[number]["row"] for number in range(24)]
    for epoch in range(3):
        assert sorted(rows[8 * epoch : 8 * epoch + 8]) == list(range(8))
    assert rows[:8] != rows[8:16]


def test_low_is_high_made_smaller(classes):
    example = PhotoExamples(open_source(classes), np.arange(8), PLAIN)[5]
    assert torch.equal(example["low"], resize(example["high"], (8, 8), None))


@pytest.mark.parametrize(("world", "accumulation"), [(1, 1), (2, 1), (2, 2), (1, 4)])
def test_every_number_of_processes_sees_the_same_steps(world, accumulation):
    steps = []
    for rank in range(world):
        passes = Share(8, rank, world, accumulation).passes(first_step=3)
        steps.append([list(chain(*islice(passes, accumulation))) for _ in range(2)])
    joined = [sorted(chain(*(of_rank[step] for of_rank in steps))) for step in range(2)]
    assert joined == [list(range(24, 32)), list(range(32, 40))]


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(UsageError, match="a batch of 8 cannot be shared by 3 processes"):
        Share(8, 0, 3)


def test_workers_give_the_same_batches(classes):
    examples = PhotoExamples(open_source(classes), np.arange(8), PLAIN)
    alone, helped = (load(examples, Share(4), 2, workers) for workers in (0, 1))
    for _ in range(2):
        one, other = next(alone), next(helped)
        assert one["caption"] == other["caption"] and torch.equal(one["low"], other["low"])


def test_noise_depends_on_the_example_not_on_the_batch():
    batch = {"seed": torch.tensor([7, 2**61])}
    both = noise_of(batch, torch.empty(2, 4, 8, 8))
    alone = noise_of({"seed": batch["seed"][1:]}, torch.empty(1, 4, 8, 8))
    assert torch.equal(both[1], alone[0])
    assert not torch.equal(both[0], both[1])
    assert abs(float(both.std()) - 1) < 0.15


def test_a_picture_that_is_damaged_is_named(tmp_path):
    (tmp_path / "bad.png").write_bytes(png(np.random.default_rng(0))[:50])
    with pytest.raises(UsageError, match=r"'bad.png': cannot be read"):
        read_image(open_source(tmp_path), 0)


def test_a_degradation_recipe(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text("bicubic = 0.5\nblur_only = 0\n[first]\nnoise_sigma = [2, 4]\n")
    config = read_degradation(file)
    assert config.bicubic == 0.5 and config.first.noise_sigma == (2, 4)
    assert config.second == DegradationConfig().second
    for text, message in (
        ("bicubics = 1", "bicubics"),
        ("[first]\nnoise = 1", "noise"),
        ("bicubic = 0.9\nblur_only = 0.2", "more than all"),
        ("bicubic = ", "Invalid"),
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=message):
            read_degradation(file)


def test_photos_survive(photos):
    with Image.open(photos / "own" / "d.png") as picture:
        assert picture.size == (50, 40)
