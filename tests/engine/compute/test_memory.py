"""Offload and low memory: the same pixels, and networks that leave when they should."""

from __future__ import annotations

import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from coser_cli.engine.compute import memory
from coser_cli.engine.compute.memory import choose_offload
from coser_cli.engine.compute.retry import NotFiniteError
from coser_cli.engine.upscaler import Upscaler
from coser_cli.errors import DeviceError, UsageError
from coser_cli.models.build import PARTS
from coser_cli.settings import Settings
from coser_cli.size import PartSize
from coser_cli.weights import store
from tests.toy import TOY
from tests.toy_upscaler import save_toy, toy_part

CPU = torch.device("cpu")
QUICK = Settings(scale=2, steps=2, sampler="ddpm")
PIXELS = torch.rand(1, 3, 12, 10, generator=torch.Generator().manual_seed(1))
MODES = [("none", False), ("model", False), ("sequential", False), ("auto", True)]


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    return save_toy(tmp_path_factory.mktemp("toy"))


def load(folder: Path, offload: str = "none", low_memory: bool = False, dtype: str = "float32"):
    return Upscaler.from_pretrained(
        folder, device="cpu", dtype=dtype, offload=offload, low_memory=low_memory
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_same_pixels_in_every_mode(toy, dtype):
    made = [
        load(toy, *mode, dtype=dtype).upscale(PIXELS, QUICK, want_reference=True) for mode in MODES
    ]
    for other in made[1:]:
        assert torch.equal(made[0].pixels, other.pixels)
        assert torch.equal(made[0].reference, other.reference)


def held_at_each_step(upscaler: Upscaler) -> dict[str, set[str]]:
    """Parts on the device, at the end of every stage."""
    held: dict[str, set[str]] = {}

    def look(stage: str, done: int, total: int) -> None:
        held[stage] = set(upscaler.model.here)

    upscaler.upscale(PIXELS, QUICK, on_progress=look)
    return held


@pytest.mark.parametrize("mode", MODES[1:])
def test_every_stage_holds_its_own_networks_only(toy, mode):
    held = held_at_each_step(load(toy, *mode))
    assert held["prepare"] == {"vae"}
    assert held["understand"] == {"srresnet", "cognitive_encoder", "text"}
    assert held["imagine"] == {"unet"}
    assert held["restore"] == {"unet", "controlnet"}
    assert held["decode"] == {"cfw"}


def test_without_offload_all_stay_and_are_loaded_once(toy, monkeypatch):
    read = []
    convert = store.convert_part
    monkeypatch.setattr(
        store,
        "convert_part",
        lambda folder, part, fit: read.append(part) or convert(folder, part, fit),
    )
    upscaler = load(toy)
    assert held_at_each_step(upscaler)["decode"] == set(PARTS)
    upscaler.upscale(PIXELS, QUICK)
    assert sorted(read) == sorted(set(PARTS) - {"text"})


@pytest.mark.parametrize("mode", MODES[1:])
def test_networks_that_have_left_are_dead(toy, mode):
    upscaler = load(toy, *mode)
    networks: dict[str, weakref.ref] = {}

    def look(stage: str, done: int, total: int) -> None:
        if stage == "understand":
            networks["cognition"] = weakref.ref(upscaler.model.cognition)
        if stage == "imagine":
            assert networks["cognition"]() is None
        if stage == "restore":
            networks["unet"] = weakref.ref(upscaler.model.unet)
        if stage == "decode":
            assert networks["unet"]() is None

    upscaler.upscale(PIXELS, QUICK, on_progress=look)
    assert len(networks) == 2


def test_parts_used_once_leave_a_full_accelerator_before_sampling(toy):
    """The rule itself, where no accelerator is needed: `Upscaler` says when memory is tight."""
    model = load(toy).model
    wanted = {n: t.clone() for n, t in model.cognition.state_dict().items()}
    _ = model.srresnet, model.unet
    model.enter("understand", tight=True)
    assert {"unet", "cognitive_encoder"} <= model.here
    model.enter("sample", tight=False)
    assert "cognitive_encoder" in model.here
    model.enter("sample", tight=True)
    assert model.here == {"unet"}
    back = model.cognition.state_dict()
    assert "cognitive_encoder" in model.here
    assert all(torch.equal(wanted[name], back[name]) for name in wanted)


def test_model_offload_moves_between_host_and_device(toy):
    """The meta device stands in for an accelerator: what is there has no values."""
    from coser_cli.weights.load import load_model

    model = load_model(toy, "meta", torch.bfloat16, offload="model")
    saved = load_file(toy / "unet" / store.WEIGHTS_FILE)
    unet = model.unet
    assert all(parameter.is_meta for parameter in unet.parameters())
    assert model.here == {"unet"}
    model.enter("decode")
    assert model.here == set()
    for name, tensor in unet.state_dict().items():
        assert torch.equal(tensor, saved[name].to(torch.bfloat16))
    assert model.unet is unet
    assert all(parameter.is_meta for parameter in unet.parameters())


def test_sequential_offload_to_an_accelerator_streams_from_host_memory(toy):
    from coser_cli.weights.load import load_model

    model = load_model(toy, "meta", torch.bfloat16, offload="sequential")
    pixels = torch.empty(1, 3, 32, 32, device="meta", dtype=torch.bfloat16)
    assert model.cognition(pixels).shape[0] == 1
    model.enter("sample")
    assert "cognitive_encoder" in model.here


def test_what_runs_once_per_tile_moves_and_does_not_stream(toy):
    from coser_cli.weights.load import load_model

    model = load_model(toy, "meta", torch.bfloat16, offload="sequential")
    assert all(parameter.is_meta for parameter in model.srresnet.parameters())
    model.enter("sample")
    assert "srresnet" not in model.here
    assert not any(parameter.is_meta for parameter in model._held["srresnet"].network.parameters())


def test_pictures_beyond_a_dtype_are_done_again_in_float32(toy, tmp_path):
    folder = save_toy(tmp_path)
    file = folder / "unet" / store.WEIGHTS_FILE
    state = load_file(file)
    state["conv_in.weight"] *= 1e6  # maps beyond the 65504 of float16
    save_file(state, file)
    settings = replace(QUICK, strength=0.5, reference_mode="none")
    wanted = load(folder).upscale(PIXELS, settings).pixels
    half = load(folder, dtype="float16")
    low_res = half.prepare(PIXELS, settings)
    with pytest.raises(NotFiniteError, match="--dtype float32"):
        half.restore(low_res, half.understand(low_res, settings), None, settings)
    assert torch.equal(half.upscale(PIXELS, settings).pixels, wanted)
    assert torch.isfinite(wanted).all()
    assert half.model.here == set()
    # and the next picture begins in float16 again
    assert half.dtype == torch.float16
    assert {p.dtype for p in half.model.unet.parameters()} == {torch.float16}
    assert {p.dtype for p in half.model.srresnet.parameters()} == {torch.float32}


def test_what_float32_cannot_mend_is_an_error(toy, tmp_path):
    folder = save_toy(tmp_path)
    file = folder / "cfw" / store.WEIGHTS_FILE
    state = load_file(file)
    state["decoder.conv_in.weight"] *= float("nan")
    save_file(state, file)
    for dtype in ("float16", "float32"):
        with pytest.raises(DeviceError, match="not a number"):
            load(folder, dtype=dtype).upscale(PIXELS, replace(QUICK, strength=0.0))


SIZES = {
    "srresnet": PartSize(1, 1),
    "cognitive_encoder": PartSize(30, 5),
    "unet": PartSize(40, 8),
    "controlnet": PartSize(20, 4),
    "vae": PartSize(9, 2),
}
"""100 in all; 60 while sampling."""


@pytest.mark.parametrize(
    ("free", "found"),
    [(200, "none"), (199, "model"), (120, "model"), (119, "sequential"), (0, "sequential")],
)
def test_auto_offload_goes_by_what_is_free(monkeypatch, free, found):
    monkeypatch.setattr(memory, "available_memory", lambda device: free)
    chosen, note = choose_offload("auto", SIZES, CPU)
    assert chosen == found
    assert (f"--offload {found}" in note) == (found != "none")
    for name in ("none", "model", "sequential"):
        assert choose_offload(name, SIZES, CPU) == (name, "")


def test_large_models_need_their_size_and_the_headroom(monkeypatch):
    sizes = {"unet": PartSize(20 * 2**30, 1)}
    for free, found in ((24, "none"), (23, "sequential")):
        monkeypatch.setattr(memory, "available_memory", lambda device, free=free: free * 2**30)
        assert choose_offload("auto", sizes, CPU)[0] == found


def test_offload_where_free_memory_is_unknown(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda device: None)
    assert choose_offload("auto", SIZES, CPU) == ("none", "")


def test_wrong_offloads_are_refused(toy):
    with pytest.raises(UsageError, match="elsewhere"):
        load(toy, "elsewhere")
    for offload in ("none", "model"):
        with pytest.raises(UsageError, match=offload):
            load(toy, offload, low_memory=True)


def test_weights_to_come_count_as_needed(toy, monkeypatch):
    """The estimate counts weights that are not there yet, as the offload brings them."""
    everything, stage, layer = (
        load(toy, mode).model.pending(["prepare", "understand", "sample", "decode"])
        for mode in ("none", "model", "sequential")
    )
    sizes = {part: store.part_size(toy, part, 4).total for part in PARTS}
    assert everything == sum(sizes.values())
    assert stage == max(
        sizes["unet"] + sizes["controlnet"],
        sizes["vae"] + sizes["cfw"] + sizes["srresnet"],
        sizes["cognitive_encoder"] + sizes["text"] + sizes["srresnet"],
    )
    assert 0 < layer < stage
    upscaler = load(toy)
    upscaler.upscale(PIXELS, QUICK)
    assert upscaler.model.pending(["prepare", "understand", "sample", "decode"]) == 0
    fresh = load(toy)
    monkeypatch.setattr(memory, "available_memory", lambda device: everything)
    with pytest.raises(DeviceError, match="--low-memory"):
        fresh.upscale(PIXELS, QUICK)
    upscaler.upscale(PIXELS, QUICK)  # its weights are there


def test_sizes_are_those_in_memory(toy):
    for part in set(PARTS) - {"text"}:
        sizes = [tensor.nbytes for tensor in toy_part(TOY, part).state_dict().values()]
        assert store.part_size(toy, part, 4) == PartSize(sum(sizes), max(sizes))


PEAK = """
import sys, torch
from coser_cli import Settings, Upscaler
from coser_cli.engine.compute.retry import free_cache

def anonymous():
    free_cache(torch.device("cpu"))
    status = open("/proc/self/status").read()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024

low = sys.argv[1] == "low"
mode = {"offload": "auto" if low else "none", "low_memory": low}
upscaler = Upscaler.from_pretrained("mini", device="cpu", dtype="float32", **mode)
settings = Settings(scale=2, steps=1, strength=0.5)
peak = 0
def look(stage, done, total):
    global peak
    peak = max(peak, anonymous())
upscaler.upscale(torch.rand(1, 3, 16, 16), settings, on_progress=look)
print(peak)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_low_memory_takes_less_of_it():
    """The bundled model's 72 MB of weights in float32 are most of what differs."""
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", PEAK, mode], text=True))
        for mode in ("all", "low")
    ]
    assert peaks[0] - peaks[1] > 40e6, peaks
