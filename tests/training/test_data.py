"""The list of photos, and the pool of crop pairs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from coser_cli.errors import InputError
from coser_cli.training.data import PairPool, PoolConfig, list_photos, read_crop
from coser_cli.training.degradation import DegradationConfig, resize
from coser_cli.training.latents import as_sentence

CONFIG = PoolConfig(crops=8, size=64, degradation=DegradationConfig(bicubic=1))


@pytest.fixture(scope="module")
def pool(photos, tmp_path_factory):
    return PairPool.make(photos, tmp_path_factory.mktemp("pool"), CONFIG)


def test_photos_come_with_captions(photos):
    found = list_photos(photos)
    assert [photo.path.name for photo in found] == ["a.png", "b.png", "c.png", "d.png"]
    assert found[2].caption == "two boats in the harbour"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such list"),
        ("file\tcaption\na.png\tcat\n", "must name file and label_or_caption"),
        ("file\tlabel_or_caption\n", "empty"),
        ("file\tlabel_or_caption\na.png\tcat\n", "no such photo: .*a.png"),
    ],
)
def test_lists_that_are_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "captions.tsv").write_text(text)
    with pytest.raises(InputError, match=message):
        list_photos(tmp_path)


def test_class_names_become_sentences():
    assert as_sentence("owl ") == "a photo of owl"
    assert as_sentence("a red cat on a sofa") == "a red cat on a sofa"


@pytest.mark.parametrize("name", ["open/a.png", "own/c.png", "own/d.png"])
def test_crops_of_any_photo_are_full_size(photos, name):
    for seed in range(4):
        crop = read_crop(photos / name, 64, np.random.default_rng(seed))
        assert crop.shape == (3, 64, 64)
        assert crop.dtype == np.uint8
        assert crop.flags.c_contiguous


def test_pool_has_the_shapes_of_its_recipe(pool):
    assert pool.high.shape == (8, 3, 64, 64)
    assert pool.low.shape == (8, 3, 16, 16)
    assert pool.photo.shape == (8,)
    assert pool.high.dtype == pool.low.dtype == np.uint8
    assert pool.high.std() > 10


def test_low_is_high_made_smaller(pool):
    for row in range(8):
        high = torch.from_numpy(np.array(pool.high[row])).float() / 255
        low = torch.from_numpy(np.array(pool.low[row])).float() / 255
        assert (resize(high, (16, 16), None) - low).abs().max() <= 0.51 / 255


def test_pool_is_made_once_and_again_for_another_recipe(photos, tmp_path):
    PairPool.make(photos, tmp_path, CONFIG)
    made = (tmp_path / "high.npy").stat().st_mtime_ns
    PairPool.make(photos, tmp_path, CONFIG)
    assert (tmp_path / "high.npy").stat().st_mtime_ns == made
    again = PairPool.make(photos, tmp_path, replace(CONFIG, crops=5))
    assert len(again.high) == len(again.photo) == 5
    assert json.loads((tmp_path / "recipe.json").read_text())["crops"] == 5


def test_pool_that_was_cut_short_is_made_again(photos, tmp_path):
    PairPool.make(photos, tmp_path, CONFIG)
    with pytest.raises(InputError):
        PairPool.make(tmp_path / "elsewhere", tmp_path, replace(CONFIG, seed=1))
    assert not (tmp_path / "recipe.json").exists()


def test_same_seed_same_pool_in_one_process_or_two(photos, tmp_path):
    config = replace(CONFIG, crops=101, size=32, degradation=DegradationConfig())
    one = PairPool.make(photos, tmp_path / "one", config, workers=1)
    two = PairPool.make(photos, tmp_path / "two", config, workers=2)
    assert np.array_equal(one.high, two.high)
    assert np.array_equal(one.low, two.low)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_open_share(photos, tmp_path, share):
    pool = PairPool.make(photos, tmp_path, replace(CONFIG, open_share=share))
    assert set(pool.photo) <= ({0, 1} if share else {2, 3})


def test_batches_depend_on_seed_and_step_only(pool):
    run = pool.batches(3, 32, seed=5)
    first = [next(run) for _ in range(4)]
    resumed = next(pool.batches(3, 32, seed=5, start=3))
    for found, expected in zip(resumed, first[3], strict=True):
        assert np.array_equal(found, expected)
    other = next(pool.batches(3, 32, seed=6))
    assert not torch.equal(other[0], first[0][0])
    assert not torch.equal(first[1][0], first[0][0])


def test_batches_have_their_shapes(pool):
    high, low, rows = next(pool.batches(3, 32, seed=0))
    assert high.shape == (3, 3, 32, 32)
    assert low.shape == (3, 3, 8, 8)
    assert rows.shape == (3,)
    assert high.dtype == low.dtype == torch.float32
    assert high.min() >= 0 and high.max() <= 1


def test_crops_are_aligned_whichever_way_they_are_turned(pool):
    """The LR crop is nearest to its own HR crop made smaller, not to a turned or flipped one."""
    turned = 0
    batches = pool.batches(8, 48, seed=1)
    for _ in range(3):
        high, low, rows = next(batches)
        for big, small, row in zip(high, low, rows, strict=True):
            own = resize(big, (12, 12), None)
            inner = (own - small)[:, 1:-1, 1:-1].abs().max()  # filters see past a crop's border
            assert inner < 0.06
            assert inner < (own.flip(-1) - small)[:, 1:-1, 1:-1].abs().max()
            assert inner < (own.rot90(2, (1, 2)) - small)[:, 1:-1, 1:-1].abs().max()
            source = torch.from_numpy(np.array(pool.high[row])).float() / 255
            windows = source.unfold(1, 48, 4).unfold(2, 48, 4)
            near = (windows - big[:, None, None]).abs().amax((0, 3, 4)).min()
            turned += bool(near > 0)
    assert 10 < turned < 24  # seven of eight in the mean
