"""The training loop: interrupted or not, it ends at the same weights."""

import errno
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from coser_cli.config import SRResNetConfig
from coser_cli.errors import UsageError, WeightsError
from coser_cli.models.srresnet import SRResNet
from coser_cli.training import checkpoint
from coser_cli.training.data import open_source
from coser_cli.training.degradation import DegradationConfig
from coser_cli.training.examples import ExampleConfig, PhotoExamples
from coser_cli.training.loop import Loop, LoopConfig
from coser_cli.training.losses import Critic, CriticLoss, PictureLoss, PictureWeights
from coser_cli.training.objectives import SRResNetObjective

CONFIG = LoopConfig(
    steps=5,
    batch=2,
    learning_rate=1e-2,
    weight_decay=0.01,
    warmup=2,
    ema_decay=0.5,
    checkpoint_every=2,
    log_every=1,
)
CPU = torch.device("cpu")


class StoppedError(Exception):
    pass


class Interrupted(PhotoExamples):
    """Examples that end the run at one of them."""

    stop_at = None

    def __getitem__(self, number):
        if number == self.stop_at:
            raise StoppedError
        return super().__getitem__(number)


@pytest.fixture
def examples(classes):
    plain = DegradationConfig(bicubic=1, blur_only=0)
    return Interrupted(open_source(classes), np.arange(8), ExampleConfig(32, degradation=plain))


def make_loop(folder, config=CONFIG, *, adversarial=0.1, identity=None):
    torch.manual_seed(0)
    loss = PictureLoss(PictureWeights(), CPU)
    objective = SRResNetObjective(SRResNet(SRResNetConfig(4, 1)), loss)
    if not adversarial:
        return Loop(objective, config, folder, identity=identity)
    loss.weights = PictureWeights(adversarial=adversarial)
    loss.critic = Critic(width=4)
    critic = CriticLoss(loss.critic)
    return Loop(objective, config, folder, critic=critic, identity=identity)


def state_of(loop):
    state = {f"averaged.{name}": value for name, value in loop.averaged.state.items()}
    for kind in ("model", "critic"):
        net = getattr(loop, kind)
        state |= {f"{kind}.{k}": v for k, v in net.state_dict().items()} if net else {}
    return {name: value.clone() for name, value in state.items()}


@pytest.mark.parametrize("stop_at", [5, 8])
def test_resumed_run_ends_at_the_very_same_weights(tmp_path, examples, stop_at):
    whole = make_loop(tmp_path / "whole")
    whole.run(examples)
    cut = make_loop(tmp_path / "cut")
    examples.stop_at = stop_at
    with pytest.raises(StoppedError):
        cut.run(examples)
    torch.rand(3)  # whatever happened in between
    examples.stop_at = None
    resumed = make_loop(tmp_path / "cut")
    assert resumed.step == stop_at // 4 * 2
    resumed.run(examples)
    found, expected = state_of(resumed), state_of(whole)
    assert found.keys() == expected.keys() and any("critic" in name for name in found)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    logs = [
        [json.loads(line) for line in (tmp_path / run / "log.jsonl").open()]
        for run in ("whole", "cut")
    ]
    assert [row["step"] for row in logs[0]] == [row["step"] for row in logs[1]] == [1, 2, 3, 4, 5]
    assert [row["loss"] for row in logs[0]] == [row["loss"] for row in logs[1]]


def test_passes_add_up_to_the_batch(tmp_path, examples):
    config = replace(CONFIG, batch=4, steps=2, mixed_precision="no", clip=0.0)
    ends = []
    for passes in (1, 2, 4):
        loop = make_loop(
            tmp_path / str(passes), replace(config, accumulation=passes), adversarial=0
        )
        loop.run(examples)
        ends.append(state_of(loop))
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, atol=1e-4, rtol=0)
        torch.testing.assert_close(ends[2][name], value, atol=1e-4, rtol=0)


def test_it_learns(tmp_path, examples):
    loop = make_loop(tmp_path, replace(CONFIG, steps=60, batch=4), adversarial=0)
    loop.model.networks["srresnet"].conv_last.bias.data += 0.5
    loop.run(examples)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").open()]
    assert losses[0] > 0.3
    assert np.mean(losses[-10:]) < 0.1


def test_a_full_disk_loses_nothing(tmp_path, examples, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    loop = make_loop(tmp_path, adversarial=0)
    loop.run(examples)
    before = (tmp_path / checkpoint.FILE).read_bytes()
    longer = make_loop(tmp_path, replace(CONFIG, steps=9), adversarial=0)
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(WeightsError, match=r"No space left on device.*is whole.*make room"):
        longer.run(examples)
    assert (tmp_path / checkpoint.FILE).read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path, examples):
    make_loop(tmp_path, adversarial=0, identity={"model": {"width": 4}}).run(examples)
    with pytest.raises(UsageError, match=r"learning_rate was 0\.01, now it is 0\.02"):
        make_loop(tmp_path, replace(CONFIG, learning_rate=0.02), adversarial=0)
    with pytest.raises(UsageError, match=r"model\.width was 4, now it is 8"):
        make_loop(tmp_path, adversarial=0, identity={"model": {"width": 8}})
    more = replace(CONFIG, steps=7, accumulation=2)
    assert make_loop(tmp_path, more, adversarial=0, identity={"model": {"width": 4}}).step == 5


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 half", None])
def test_a_damaged_checkpoint_is_named(tmp_path, data):
    file = tmp_path / checkpoint.FILE
    if data is None:
        torch.save({"model": {}}, file)
    else:
        file.write_bytes(data)
    with pytest.raises(WeightsError, match=r"checkpoint\.pt: not a checkpoint that can be contin"):
        make_loop(tmp_path)


def test_two_runs_in_one_folder_are_refused(tmp_path, examples):
    loop, other = make_loop(tmp_path, adversarial=0), make_loop(tmp_path, adversarial=0)
    with loop._alone(), pytest.raises(UsageError, match="another run trains there"):
        other.run(examples)


def test_tensorboard_and_held_out_losses(tmp_path, examples):
    config = replace(CONFIG, steps=2, held_out_every=2)
    loop = make_loop(tmp_path, config, adversarial=0)
    loop.tensorboard = True
    loop.run(examples, examples)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").open()]
    assert "held_out_loss" in rows[-1]
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_minutes_end_it_early_and_count_across_runs(tmp_path, examples):
    config = replace(CONFIG, steps=10**6, minutes=0.5 / 60)
    loop = make_loop(tmp_path, config, adversarial=0)
    loop.run(examples)
    assert 0 < loop.step < 10**5
    again = make_loop(tmp_path, config, adversarial=0)
    again.run(examples)
    assert again.step == loop.step
