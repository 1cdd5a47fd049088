from __future__ import annotations

import subprocess
import sys
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from coser_cli import settings
from coser_cli.config import ScheduleConfig
from coser_cli.errors import UsageError
from coser_cli.sampling.guidance import Guidance, guide
from coser_cli.sampling.loop import sample
from coser_cli.sampling.noise import noise_rows, seeded_noise
from coser_cli.sampling.schedulers import (
    SAMPLERS,
    Sampler,
    add_noise,
    alphas_cumprod,
    make_scheduler,
    start_timestep,
)

STOCHASTIC = ("ddpm", "dpmpp-2m-sde", "dpmpp-3m-sde", "euler-ancestral", "lcm")
SHAPE = (2, 4, 6, 5)


def oracle(clean: torch.Tensor, schedule: ScheduleConfig):
    """A network that knows the clean latents."""
    alphas = alphas_cumprod(schedule)

    def predict(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        kept = alphas[int(timestep)]
        noise = (latents.double() - kept.sqrt() * clean) / (1 - kept).sqrt()
        if schedule.prediction_type == "epsilon":
            return noise.float()
        return (kept.sqrt() * noise - (1 - kept).sqrt() * clean).float()

    return predict


def test_names_are_those_of_the_settings():
    assert tuple(SAMPLERS) == settings.SAMPLERS


def test_unknown_name():
    with pytest.raises(UsageError, match="unknown sampler 'magic'"):
        make_scheduler("magic", ScheduleConfig(), 10)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    ("steps", "strength"), [(1, 1), (2, 1), (3, 0.5), (7, 0.3), (20, 1), (50, 0.1)]
)
def test_oracle_recovers_the_clean_latents(name, prediction, steps, strength):
    schedule = ScheduleConfig(prediction_type=prediction)
    clean, draw = torch.randn(SHAPE), seeded_noise(0, SHAPE)
    sampler = make_scheduler(name, schedule, steps, strength)
    start = add_noise(clean, draw("start", 0), schedule, sampler.start)
    found = sample(oracle(clean, schedule), start, sampler, lambda step: draw("x", step))
    # LCM blends in its input at small timesteps, by definition
    assert (found - clean).abs().max() < (5e-3 if name == "lcm" else 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "lcm"])
def test_a_thousand_steps(name):
    """LCM apart: at timestep 0 it is defined to return its input."""
    schedule, clean, draw = ScheduleConfig(), torch.randn(SHAPE), seeded_noise(0, SHAPE)
    sampler = make_scheduler(name, schedule, 1000)
    assert sampler.timesteps == tuple(range(999, -1, -1))
    start = add_noise(clean, draw("start", 0), schedule, 999)
    found = sample(oracle(clean, schedule), start, sampler, lambda step: draw("x", step))
    assert (found - clean).abs().max() < 1e-3


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(SAMPLERS)),
    st.integers(1, 1000),
    st.floats(0, 1, exclude_min=True),
)
def test_timesteps(name, steps, strength):
    schedule = ScheduleConfig()
    sampler = make_scheduler(name, schedule, steps, strength)
    assert sampler.start == start_timestep(schedule, strength)
    assert len(sampler.timesteps) == min(steps, sampler.start + 1)
    assert all(earlier > later for earlier, later in pairwise(sampler.timesteps))
    assert sampler.timesteps[0] == (sampler.start if name != "ddpm" or steps > 1 else 0)
    assert sampler.timesteps[-1] >= 0
    if name == "ddpm":
        assert sampler.timesteps[-1] == 0


def test_ddpm_timesteps_of_the_published_code():
    kept = make_scheduler("ddpm", ScheduleConfig(), 50).timesteps[::-1]
    assert kept[:4] == (0, 20, 41, 61)
    assert kept[-1] == 999
    assert make_scheduler("ddpm", ScheduleConfig(), 1).timesteps == (0,)
    # a product i·999/20 would round 499.5 to 500 here; the published code sums
    assert make_scheduler("ddpm", ScheduleConfig(), 21).timesteps[10] == 499


def test_betas_are_those_of_the_kept_timesteps():
    sampler = make_scheduler("ddpm", ScheduleConfig(), 10, 0.6)
    kept = alphas_cumprod(ScheduleConfig())[list(sampler.timesteps[::-1])]
    torch.testing.assert_close(sampler.scheduler.alphas_cumprod, kept.float())
    assert sampler.scheduler.betas.dtype == torch.float32


def test_start_is_nearly_noise_at_full_strength():
    start = add_noise(torch.ones(1), torch.zeros(1), ScheduleConfig(), 999)
    assert start.item() == pytest.approx(0.0683, abs=1e-4)


@pytest.mark.parametrize("name", SAMPLERS)
def test_first_network_input_is_the_start(name):
    seen = []
    latents = torch.randn(SHAPE)
    sampler = make_scheduler(name, ScheduleConfig(), 4)

    def predict(x, timestep):
        seen.append(x.clone())
        return torch.zeros_like(x)

    sample(predict, latents, sampler, lambda step: torch.zeros(SHAPE))
    assert len(seen) == 4
    torch.testing.assert_close(seen[0], latents)


@pytest.mark.parametrize("name", SAMPLERS)
def test_all_noise_is_ours(name):
    asked = []
    state = torch.random.get_rng_state()

    def noise(step: int) -> torch.Tensor:
        asked.append(step)
        return torch.zeros(SHAPE)

    sampler = make_scheduler(name, ScheduleConfig(), 4)
    sample(lambda x, t: x, torch.ones(SHAPE), sampler, noise)
    assert torch.equal(state, torch.random.get_rng_state())
    assert bool(asked) == (name in STOCHASTIC)
    assert asked == sorted(set(asked))


def test_bfloat16_predictions_do_not_coarsen_the_state():
    states = []
    sampler = make_scheduler("ddim", ScheduleConfig(), 3)
    sample(
        lambda x, t: x.bfloat16(),
        torch.ones(SHAPE, dtype=torch.bfloat16),
        sampler,
        lambda step: torch.zeros(SHAPE),
        lambda done, total, x: states.append((done, total, x.dtype)),
    )
    assert states == [(1, 3, torch.float32), (2, 3, torch.float32), (3, 3, torch.float32)]


def two_branches(latents, timestep, branches):
    return torch.cat([latents, 2 * latents][:branches])


def test_guidance():
    x = torch.ones(1, 4, 2, 2)
    assert torch.equal(guide(two_branches, Guidance(3.0))(x, 0), 2 * x + 3 * (x - 2 * x))
    assert torch.equal(guide(two_branches, Guidance(1.0))(x, 0), x)
    some = Guidance(3.0, frozenset({5}))
    assert torch.equal(guide(two_branches, some)(x, 5), 2 * x + 3 * (x - 2 * x))
    assert torch.equal(guide(two_branches, some)(x, 4), x)


@pytest.mark.parametrize(
    ("interval", "guided"),
    [((0.0, 1.0), [9, 7, 5, 3, 1]), ((0.2, 0.8), [7, 5, 3]), ((0.0, 0.6), [9, 7, 5])],
)
def test_guidance_in_a_part_of_the_steps(interval, guided):
    timesteps = [9, 7, 5, 3, 1]
    guidance = Guidance.within(interval, 2.0, timesteps)
    assert [t for t in timesteps if guidance.branches(t) == 2] == guided
    assert all(Guidance.within(interval, 1.0, timesteps).branches(t) == 1 for t in timesteps)


def test_both_branches_are_asked_for_where_they_are_guided():
    sampler = make_scheduler("ddim", ScheduleConfig(), 4)
    asked = []

    def denoise(latents, timestep, branches):
        asked.append(branches)
        return two_branches(latents, timestep, branches)

    guidance = Guidance.within((0.25, 0.75), 2.0, sampler.timesteps)
    sample(guide(denoise, guidance), torch.zeros(SHAPE), sampler, lambda step: torch.zeros(SHAPE))
    assert asked == [1, 2, 2, 1]


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_step_waits_for_the_device(name):
    """On the meta device nothing has a value: whatever asks for one fails."""
    sampler = make_scheduler(name, ScheduleConfig(), 6)
    latents = torch.empty(SHAPE, device="meta")
    found = sample(lambda x, t: x, latents, sampler, lambda step: torch.zeros(SHAPE))
    assert found.is_meta


def test_seeded_noise_is_a_function_of_its_arguments():
    draw = seeded_noise(7, SHAPE)
    late = draw("restore", 3)
    draw("imagine", 0)
    assert torch.equal(late, seeded_noise(7, SHAPE)("restore", 3))
    others = (draw("restore", 2), draw("imagine", 3), seeded_noise(8, SHAPE)("restore", 3))
    assert not any(torch.equal(late, other) for other in others)
    assert torch.equal(late[0], late[1]), "a picture of a batch sees what it would see alone"
    big = seeded_noise(2**63 - 1, (1, 4, 64, 64))("start", 0)
    assert abs(big.mean()) < 0.05
    assert abs(big.std() - 1) < 0.05


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_noise_belongs_to_its_place(height, width, data):
    top = data.draw(st.integers(0, height - 1))
    rows = range(top, data.draw(st.integers(top + 1, height)))
    narrow = data.draw(st.integers(1, width))
    whole = seeded_noise(5, (1, 4, height, width))("start", 2)
    part = noise_rows(5, "start", 2, 4, rows, narrow)
    assert torch.equal(part, whole[:, :, top : rows.stop, :narrow])


def test_noise_of_neighbours_is_not_related():
    field = seeded_noise(0, (1, 4, 64, 64))("start", 0)[0]
    shifted = (field.roll(1, 0), field.roll(1, 1), field.roll(1, 2))
    for other in shifted:
        assert (field * other).mean().abs() < 0.03


def test_scheduler_import_leaves_the_compiler_alone_but_usable():
    """torch._dynamo costs more than all the rest; it must stay out, and stay importable."""
    code = (
        "import sys; from coser_cli.sampling import make_scheduler;"
        "from coser_cli.config import ScheduleConfig;"
        "make_scheduler('ddpm', ScheduleConfig(), 4);"
        "assert 'torch._dynamo' not in sys.modules;"
        "import torch._dynamo"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_third_order_is_that_of_k_diffusion():
    """Its update in its own variables: x/α, and σ/α on a logarithmic scale, with eta 1."""
    sampler = make_scheduler("dpmpp-3m-sde", ScheduleConfig(), 20)
    scheduler = sampler.scheduler
    scheduler._step_index = 8
    alphas, sigmas = zip(
        *(
            scheduler._sigma_to_alpha_sigma_t(scheduler.sigmas[8 + i].double())
            for i in (1, 0, -1, -2)
        ),
        strict=True,
    )
    t, s, s1, s2 = ((a / b).log() for a, b in zip(alphas, sigmas, strict=True))
    x, noise, *outputs = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(0)).double()
    oldest, middle, newest = outputs
    h, h1, h2 = t - s, s - s1, s1 - s2
    d1_0, d1_1 = (newest - middle) * h / h1, (middle - oldest) * h / h2
    d2 = (d1_0 - d1_1) / ((h1 + h2) / h)
    d1 = d1_0 + d2 * h1 / h
    twice = 2 * h
    phi_2 = torch.expm1(-twice) / twice + 1
    phi_3 = phi_2 / twice - 0.5
    wanted = torch.exp(-twice) * x / alphas[1] - torch.expm1(-twice) * newest
    wanted += phi_2 * d1 - phi_3 * d2
    wanted += noise * sigmas[0] / alphas[0] * torch.sqrt(-torch.expm1(-twice))
    found = scheduler.multistep_dpm_solver_third_order_update(outputs, sample=x, noise=noise)
    torch.testing.assert_close(found / alphas[0], wanted, rtol=1e-4, atol=1e-5)


def test_third_order_comes_nearer_with_more_steps():
    """Data of one normal distribution, whose best denoiser is known: it must come out."""
    schedule, deviation = ScheduleConfig(), 0.5
    kept = alphas_cumprod(schedule)

    def spread(steps: int) -> float:
        sampler = make_scheduler("dpmpp-3m-sde", schedule, steps)
        shape, draw = (1, 4, 64, 64), seeded_noise(1, (1, 4, 64, 64))

        def predict(x, timestep):
            alpha, sigma = kept[timestep].sqrt(), (1 - kept[timestep]).sqrt()
            clean = x * alpha * deviation**2 / (alpha**2 * deviation**2 + sigma**2)
            return ((x - alpha * clean) / sigma).float()

        start = add_noise(deviation * draw("data", 0), draw("start", 0), schedule, sampler.start)
        return sample(predict, start.reshape(shape), sampler, partial(draw, "restore")).std().item()

    errors = [abs(spread(steps) - deviation) for steps in (10, 20, 50)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


class Elsewhere:
    """A scheduler that draws its noise where nobody sees it."""

    timesteps = (500, 10)

    def scale_model_input(self, sample, timestep):
        return sample

    def step(self, output, timestep, sample, return_dict=False):
        return (sample + torch.empty_like(sample).normal_(),)


def test_noise_that_is_drawn_elsewhere_is_an_error_and_no_picture():
    latents = torch.zeros(1, 4, 2, 2)
    sampler = Sampler(Elsewhere(), (500, 10), 500, stochastic=True)
    with pytest.raises(RuntimeError, match="Elsewhere draws noise"):
        sample(lambda x, t: x, latents, sampler, lambda step: latents)


def test_at_the_last_step_no_noise_is_no_error():
    latents = torch.zeros(1, 4, 2, 2)
    sampler = Sampler(Elsewhere(), (500,), 500, stochastic=True)
    sample(lambda x, t: x, latents, sampler, lambda step: latents)
