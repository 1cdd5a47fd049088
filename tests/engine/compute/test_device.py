from __future__ import annotations

import pytest
import torch

from coser_cli.config import ModelConfig
from coser_cli.engine.compute import memory
from coser_cli.engine.compute.device import choose_device, choose_dtype, dtype_note
from coser_cli.engine.compute.memory import (
    available_memory,
    memory_errors_named,
    needed_memory,
    require_memory,
)
from coser_cli.errors import DeviceError
from coser_cli.size import Size

CPU = torch.device("cpu")
CONFIG = ModelConfig("any")


def test_auto_takes_what_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == CPU
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"


@pytest.mark.parametrize("name", ["cuda", "mps", "cuda:3", "toaster", "meta"])
def test_unusable_devices_are_named(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=name) as caught:
        choose_device(name)
    assert "cpu" in caught.value.hint


def test_a_device_too_many(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("cuda:0").index == 0
    with pytest.raises(DeviceError, match="cuda:1"):
        choose_device("cuda:1")


def test_dtype():
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16
    for name in ("int8", "nonsense"):
        with pytest.raises(DeviceError, match=name):
            choose_dtype(name, CPU)


@pytest.mark.parametrize(
    ("capabilities", "chosen"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "avx512_f": True}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_a_cpu_computes_in_bfloat16_where_it_has_the_instructions(
    monkeypatch, capabilities, chosen
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert choose_dtype("auto", CPU) == chosen
    assert dtype_note("auto", chosen, CPU) == ""


def test_float32_where_torch_does_not_know_the_instructions(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_dtype("auto", CPU) == torch.float32


def test_need_grows_with_the_result():
    small, large = (needed_memory(CONFIG, Size(h, h), 4, torch.float32) for h in (64, 128))
    assert large == 4 * small
    assert needed_memory(CONFIG, Size(64, 64), 4, torch.bfloat16) < 0.6 * small


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_memory_errors_are_named(error):
    with pytest.raises(DeviceError, match="does not suffice"), memory_errors_named(CPU):
        raise error


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="a bug"), memory_errors_named(CPU):
        raise RuntimeError("a bug")


def test_memory_guard(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda device: None)
    require_memory(CONFIG, Size(10**5, 10**5), 16, torch.float32, CPU)
    monkeypatch.setattr(memory, "available_memory", lambda device: 2**30)
    require_memory(CONFIG, Size(16, 16), 4, torch.float32, CPU)
    with pytest.raises(DeviceError, match="4000×3000 to 16000×12000 pixels"):
        require_memory(CONFIG, Size(3000, 4000), 4, torch.float32, CPU)


def test_available_memory_is_sane():
    amount = available_memory(CPU)
    assert amount is None or 2**20 < amount < 2**50


def test_container_limit_counts(monkeypatch, tmp_path):
    limit, used = tmp_path / "max", tmp_path / "current"
    used.write_text("1000\n")
    monkeypatch.setattr(memory, "_CGROUP_LIMIT", str(limit))
    monkeypatch.setattr(memory, "_CGROUP_USED", str(used))
    limit.write_text("5000\n")
    assert available_memory(CPU) == 4000
    limit.write_text("max\n")
    assert available_memory(CPU) != 4000


@pytest.mark.parametrize(
    ("capability", "chosen", "told"),
    [
        ((9, 0), torch.bfloat16, ""),
        ((8, 0), torch.bfloat16, ""),
        ((7, 5), torch.float16, "cuda:0 has no bfloat16: networks compute in float16"),
        ((6, 1), torch.float32, "cuda:0 has no bfloat16: networks compute in float32"),
    ],
)
def test_older_gpus_get_what_they_can_compute_in(monkeypatch, capability, chosen, told):
    device = torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_dtype("auto", device) == chosen
    assert dtype_note("auto", chosen, device) == told
    imitated = dtype_note("bfloat16", torch.bfloat16, device)
    assert bool(imitated) == (capability < (8, 0))
    assert dtype_note("float16", torch.float16, device) == ""
