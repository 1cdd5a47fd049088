"""Two processes on a CPU, joined by gloo: the same training as by one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from coser_cli.training import checkpoint

from .conftest import toy_environment
from .one_process import gradients

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
ANY_PORT = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]


@pytest.mark.slow
def test_gradients_of_two_are_those_of_one_with_the_joint_batch(recipes, classes, tmp_path):
    args = [recipes / "sd21.toml", classes, tmp_path / "work"]
    with_cognition(args, recipes)
    script = Path(__file__).with_name("one_process.py")
    joint = [*LAUNCH, *ANY_PORT, script, *args, tmp_path / "gradients"]
    subprocess.run([str(arg) for arg in joint], env=toy_environment(), check=True, timeout=300)
    (first, seen), (second, also_seen) = (torch.load(tmp_path / f"gradients.{r}") for r in (0, 1))
    expected, all_seen = gradients(*args)
    assert sorted(seen + also_seen) == all_seen == [0, 1, 2, 3]
    assert not set(seen) & set(also_seen)
    assert first.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, atol=1e-5, rtol=1e-5)
    assert any(value.abs().max() > 1e-3 for value in expected.values())


def with_cognition(args, recipes):
    """Stage 1 is not what is tested: its weights are those to start from."""
    text = (recipes / "sd21.toml").read_text()
    start, rest = text.index("[cognition]"), text.index("[restoration]")
    recipe = recipes / "stage2.toml"
    recipe.write_text(text[:start] + text[rest:])
    args[0] = recipe
    if not (recipes / "base" / "srresnet").exists():
        from coser_cli.models.build import make_network
        from coser_cli.weights.load import save_component

        from .conftest import LIKE_SD21

        torch.manual_seed(6)
        network = make_network(LIKE_SD21, "srresnet")
        save_component(network, recipes / "base" / "srresnet", torch.float32)


def command(recipe, data, work):
    return [
        "-m", "coser_cli", "train", "restoration",
        "--config", str(recipe), "--data", str(data), "--work", str(work),
    ]  # fmt: skip


@pytest.mark.slow
def test_killed_at_random_and_resumed_by_another_number_of_processes(recipes, classes, tmp_path):
    args = [recipes / "sd21.toml", classes, tmp_path / "cut"]
    with_cognition(args, recipes)
    recipe = recipes / "long.toml"
    recipe.write_text(args[0].read_text().replace("steps = 3", "steps = 12"))
    cut = command(recipe, classes, tmp_path / "cut")
    joint = subprocess.Popen(
        [*LAUNCH, *ANY_PORT, *cut], env=toy_environment(), start_new_session=True
    )
    log = tmp_path / "cut" / "restoration" / "log.jsonl"
    deadline = time.monotonic() + 200
    while not (log.exists() and log.read_text().count("\n") >= 2):
        assert joint.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(random.random() * 0.3)
    os.killpg(joint.pid, signal.SIGKILL)
    joint.wait()
    for work in ("cut", "whole"):
        alone = [sys.executable, *command(recipe, classes, tmp_path / work)]
        subprocess.run(alone, env=toy_environment(), check=True, timeout=300)
    rows = [
        [json.loads(line) for line in (tmp_path / work / "restoration" / "log.jsonl").open()]
        for work in ("cut", "whole")
    ]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
    for one, other in zip(*rows, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)
    cut_state, whole = (
        checkpoint.read(tmp_path / work / "restoration")["averaged"] for work in ("cut", "whole")
    )
    for name, value in whole.items():
        torch.testing.assert_close(cut_state[name], value, atol=2e-3, rtol=0)


@pytest.mark.parametrize("missing", ["RANK", "MASTER_ADDR"])
def test_processes_that_are_announced_but_not_joined_are_refused(
    missing, recipes, classes, tmp_path
):
    launcher = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29999"}
    env = toy_environment() | launcher | {"WORLD_SIZE": "2"}
    del env[missing]
    run = [sys.executable, *command(recipes / "sd21.toml", classes, tmp_path / "work")]
    done = subprocess.run(run, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "accelerate launch" in done.stderr and done.stderr.count("\n") <= 2
    assert not (tmp_path / "work").exists()
