"""Batches, devices and clusters as options; what they do is tested with the engine."""

import sys

import pytest

from coser_cli.errors import Exit


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--batch-size", "0"], "auto or a number"),
        (["--batch-size", "many"], "auto or a number"),
        (["--devices", "cpu,"], "names no device"),
        (["--devices", "cpu,cpu", "--cluster", "auto"], "go not together"),
    ],
)
def test_contradictions_are_refused_before_anything_runs(coser, photo, options, words):
    photo("a.png")
    ran = coser("upscale", "a.png", *options)
    assert ran.code == Exit.USAGE
    assert words in ran.err
    assert ran.out == ""


def test_batches_and_one_named_device_change_no_bytes(coser, photo, tmp_path):
    """One thread adds up a batch as single pictures; so does a device that is named in a list."""
    import torch

    for name in ("a.png", "b.png", "c.png"):
        photo(name)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert coser("upscale", ".", "-s", 2, "-o", "one/").code == 0
        ran = coser("upscale", ".", "-s", 2, "-o", "three/", "--batch-size", 3, "--devices", "cpu")
    finally:
        torch.set_num_threads(threads)
    assert ran.code == 0
    assert ran.err.endswith("3 done, 0 skipped, 0 failed\n")
    for name in ("a_2x.png", "b_2x.png", "c_2x.png"):
        assert (tmp_path / "three" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_a_device_that_is_not_there(coser, photo):
    photo("a.png")
    ran = coser("upscale", "a.png", "--devices", "cuda:77")
    assert ran.code == Exit.DEVICE
    assert "cuda:77" in ran.err


def test_a_cluster_needs_ray(coser, photo, monkeypatch):
    photo("a.png")
    monkeypatch.setitem(sys.modules, "ray", None)
    ran = coser("upscale", "a.png", "--cluster", "auto")
    assert ran.code == Exit.USAGE
    assert "coser-cli[cluster]" in ran.err
