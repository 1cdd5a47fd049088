"""What is measured: structure and sanity, never how long it took."""

import math
import time

import pytest
import torch

from coser_cli.bench.ceiling import measure_ceiling
from coser_cli.bench.clock import Timestamps, Timing, peak_bytes, reset_peak, time_of
from coser_cli.bench.environment import environment_of
from coser_cli.bench.stages import PictureRun, measure_stages
from coser_cli.bench.synthetic import synthetic_model, synthetic_sizes
from coser_cli.bench.tiles import measure_tiled
from coser_cli.errors import UsageError
from coser_cli.models.build import PARTS
from coser_cli.models.residency import Placement
from coser_cli.settings import Settings, TileSpec
from tests.bench.conftest import CPU, TOY, make_upscaler


def test_a_timing_has_median_and_least():
    timing = Timing((3.0, 1.0, 2.5))
    assert (timing.median, timing.least) == (2.5, 1.0)


def test_calls_are_counted_and_timed():
    calls = []

    def run():
        calls.append(None)
        time.sleep(0.01)

    timing = time_of(run, CPU, repeat=3, warmup=2)
    assert len(calls) == 5
    assert len(timing.runs) == 3
    assert timing.least >= 0.01


def test_timestamps_tell_what_lies_between():
    timestamps = Timestamps(CPU)
    timestamps.take()
    time.sleep(0.02)
    timestamps.take()
    timestamps.take()
    first, second = timestamps.seconds()
    assert first >= 0.02
    assert 0 <= second < first


def test_peak_memory_is_that_of_the_block():
    def peak(elements):
        reset_peak(CPU)
        torch.ones(elements)
        return peak_bytes(CPU)

    if (before := peak(1)) is None:
        pytest.skip("the system does not tell")
    size = 64 * 2**20
    taken, after = peak(size // 4), peak(1)
    assert taken - before > 0.9 * size
    assert taken - after > 0.9 * size, "an earlier peak must not count"


def test_the_ceiling_is_a_rate_of_one_of_the_sides():
    ceiling = measure_ceiling(CPU, torch.float32, first=16, last=64)
    assert ceiling.rate > 0
    assert ceiling.side in (16, 32, 64)


def test_the_environment_names_the_device():
    found = environment_of(CPU, torch.bfloat16)
    assert (found.device, found.dtype) == ("cpu", "bfloat16")
    assert found.device_name
    assert found.threads == torch.get_num_threads()
    assert found.packages["torch"] == torch.__version__.split("+")[0]


def test_synthetic_weights_depend_on_the_seed_alone():
    def weights(seed):
        return make_upscaler(seed=seed).model.unet.state_dict()

    once, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not torch.equal(once["conv_in.weight"], other["conv_in.weight"])


def test_no_synthetic_weight_is_zero_and_every_size_is_known(upscaler):
    sizes = synthetic_sizes(TOY, torch.float32)
    assert sizes.keys() == set(PARTS) - {"text"}
    model = upscaler.model
    networks = {"unet": model.unet, "controlnet": model.controlnet, "srresnet": model.srresnet}
    for part, network in networks.items():
        tensors = network.state_dict().values()
        assert all(tensor.abs().max() > 0 for tensor in tensors)
        assert sizes[part].total == sum(t.numel() * t.itemsize for t in tensors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_synthetic_weights_make_is_finite_and_no_constant(dtype):
    upscaler = make_upscaler(dtype)
    run = PictureRun(upscaler, torch.rand(1, 3, 8, 8), Settings(strength=1.0))
    for stage in run.stages().values():
        stage(lambda *_: None)
    for made in (run.cognition.embedding, run.reference, run.latents, run.result):
        assert made.isfinite().all()
        assert made.float().std() > 1e-3
    assert run.result.shape == (1, 3, 32, 32)


def test_a_model_of_any_dtype_has_its_weights_in_it():
    model = synthetic_model(TOY, Placement(CPU, torch.bfloat16))
    assert {p.dtype for p in model.unet.parameters()} == {torch.bfloat16}
    assert model.text.encode([""]).dtype == torch.bfloat16


def test_stages_are_measured_in_the_order_of_the_engine(upscaler, picture_run):
    run = PictureRun(upscaler, picture_run.pixels, Settings(strength=1.0))
    stages = {stage.name: stage for stage in measure_stages(run, repeat=2)}
    names = ["text", "prepare", "understand", "imagine", "restore", "decode", "write"]
    assert list(stages) == names
    assert all(len(stage.seconds.runs) == 2 for stage in stages.values())
    assert all(stage.seconds.least > 0 for stage in stages.values())
    for name in ("imagine", "restore"):
        stage = stages[name]
        assert stage.steps == 3
        assert len(stage.step_seconds.runs) == 2 * 2, "the first step prepares for the others"
        assert stage.step_seconds.least < stage.seconds.median
        assert stage.step_flops * 3 <= stage.flops < stage.step_flops * 4
        assert math.isclose(stage.rate, stage.flops / stage.seconds.median)
    assert stages["prepare"].steps is stages["prepare"].step_seconds is None
    assert stages["write"].flops == 0


def test_without_diffusion_there_are_fewer_stages(upscaler, picture_run):
    run = PictureRun(upscaler, picture_run.pixels, Settings(strength=0.0))
    assert [stage.name for stage in measure_stages(run, 1, 0)] == ["prepare", "decode", "write"]


def test_a_step_in_tiles(upscaler, picture_run):
    how = picture_run.settings, picture_run.cognition
    found = measure_tiled(upscaler, *how, side=64, repeat=2, spec=TileSpec(32, 16))
    assert (found.side, found.tile_size, found.tiles) == (64, 32, 9)
    assert found.batch >= 1
    assert len(found.untiled.runs) == 2
    assert math.isclose(found.per_tile, found.seconds.median / 9)
    assert math.isclose(found.factor, found.per_tile / found.untiled.median)


def test_tiles_that_the_model_does_not_take_are_refused(upscaler, picture_run):
    how = picture_run.settings, picture_run.cognition
    with pytest.raises(UsageError, match="--tile-size"):
        measure_tiled(upscaler, *how, side=64, repeat=1, spec=TileSpec(33, 16))
