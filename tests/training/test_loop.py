"""The training loop: interrupted or not, it ends at the same weights."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from coser_cli.config import SRResNetConfig
from coser_cli.models.srresnet import SRResNet
from coser_cli.training.loop import Loop, LoopConfig, step_seed
from coser_cli.training.losses import Discriminator
from coser_cli.training.pixels import PictureLoss, PixelWeights

CONFIG = LoopConfig(
    steps=5, learning_rate=1e-2, weight_decay=0.01, warmup=2, ema_decay=0.5, checkpoint_every=2
)
WEIGHTS = PixelWeights(gradient=0.5, adversarial=0.1)


class InterruptedRunError(Exception):
    pass


def make_loop(folder, config=CONFIG, *, seed=0, critic=True):
    torch.manual_seed(seed)
    critics = Discriminator(width=4) if critic else None
    return Loop(SRResNet(SRResNetConfig(4, 1)), config, folder, critics)


def losses_of(loop, stop_at=None):
    """Pictures from the global generator, as stages draw their noise."""
    picture_loss = PictureLoss(WEIGHTS, loop.device)
    picture_loss.critic = loop.critics

    def losses(step):
        if step == stop_at:
            raise InterruptedRunError
        return picture_loss(loop.unwrapped(torch.rand(2, 3, 4, 4)), torch.rand(2, 3, 16, 16))

    return losses


def state_of(loop):
    nets = {"model": loop.unwrapped, "averaged": loop.averaged}
    if loop.critics is not None:
        nets["critics"] = loop.critics
    return {f"{n}.{k}": v.clone() for n, net in nets.items() for k, v in net.state_dict().items()}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("stop_at", [3, 4])
def test_resumed_run_ends_at_the_very_same_weights(tmp_path, stop_at):
    whole = make_loop(tmp_path / "whole")
    whole.run(losses_of(whole))
    cut = make_loop(tmp_path / "cut")
    with pytest.raises(InterruptedRunError):
        cut.run(losses_of(cut, stop_at))
    torch.rand(3)  # whatever happened in between
    resumed = make_loop(tmp_path / "cut", seed=7)
    assert resumed.step == stop_at // 2 * 2
    resumed.run(losses_of(resumed))
    assert resumed.step == 5
    assert_equal(state_of(resumed), state_of(whole))


def test_another_seed_is_another_run(tmp_path):
    loops = [make_loop(tmp_path / f"{s}", replace(CONFIG, seed=s), critic=False) for s in (0, 1)]
    ends = []
    for loop in loops:
        loop.run(losses_of(loop))
        ends.append(next(iter(state_of(loop).values())))
    assert not torch.equal(*ends)


def test_step_seeds_differ_and_fit_in_32_bits():
    seeds = {step_seed(seed, step) for seed in range(20) for step in range(50)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_ema_is_the_exponential_mean_of_the_weights(tmp_path):
    loop = make_loop(tmp_path, critic=False)
    seen, inner = [], losses_of(loop)

    def losses(step):
        seen.append(loop.unwrapped.conv_last.bias.detach().clone())
        return inner(step)

    loop.run(losses)
    seen.append(loop.unwrapped.conv_last.bias.detach().clone())
    mean = seen[1]  # the first step's outcome starts it
    for value in seen[2:]:
        mean = 0.5 * mean + 0.5 * value
    torch.testing.assert_close(loop.averaged.module.conv_last.bias, mean)


def test_it_learns(tmp_path):
    torch.manual_seed(0)
    loop = Loop(nn.Linear(4, 1), replace(CONFIG, steps=150, learning_rate=0.05), tmp_path)
    inputs = torch.rand(32, 4)
    errors = []

    def losses(step):
        error = (loop.unwrapped(inputs).float() - inputs.sum(1, keepdim=True)).square().mean()
        errors.append(float(error.detach()))
        return {"loss": error}

    loop.run(losses)
    assert errors[-1] < 0.05 * errors[0]


def test_frozen_parameters_stay(tmp_path):
    network = SRResNet(SRResNetConfig(4, 1))
    network.conv_first.requires_grad_(False)
    before = network.conv_first.weight.detach().clone()
    loop = Loop(network, CONFIG, tmp_path)
    loop.run(losses_of(loop))
    assert torch.equal(network.conv_first.weight, before)
    assert torch.equal(loop.averaged.module.conv_first.weight, before)


def test_the_rate_warms_up_and_falls(tmp_path):
    config = replace(CONFIG, steps=10, warmup=4)
    loop = make_loop(tmp_path, config)
    rates, inner = [], losses_of(loop)

    def losses(step):
        rates.append(loop.optimizer.param_groups[0]["lr"])
        assert loop.critic_optimizer.param_groups[0]["lr"] == rates[-1]
        return inner(step)

    loop.run(losses)
    assert rates[:4] == sorted(rates[:4])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[0] == pytest.approx(0.25 * 1e-2)
    assert 0.02e-2 < rates[-1] < 0.05e-2


def test_no_warmup_is_no_division_by_zero(tmp_path):
    loop = make_loop(tmp_path, replace(CONFIG, steps=1, warmup=0), critic=False)
    loop.run(losses_of(loop))
    assert loop.step == 1


def test_minutes_end_it_early_and_count_across_runs(tmp_path):
    config = replace(CONFIG, steps=10**6, minutes=0.2 / 60)
    loop = make_loop(tmp_path, config, critic=False)
    loop.run(losses_of(loop))
    assert 0 < loop.step < 10**5
    assert 0.2 <= loop.seconds < 10
    again = make_loop(tmp_path, config, critic=False)
    again.run(losses_of(again))
    assert again.step == loop.step


def test_log_has_a_line_per_hundred_steps(tmp_path):
    loop = make_loop(tmp_path, replace(CONFIG, steps=200), critic=False)
    loop.run(losses_of(loop))
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [100, 200]
    assert rows[0].keys() == {"step", "seconds", "loss", "l1"}
    assert not list(tmp_path.glob("*.part"))
