"""One-hot attention: the chunked form, the kernel under Triton's interpreter and through its
compilers, and the way from one to the other. What needs a GPU runs where there is one.
"""

import importlib.util
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coser_cli.errors import CoserWarning
from coser_cli.models import one_hot
from coser_cli.models.one_hot import chunked_one_hot_attention, one_hot_attention

from .conftest import assert_near
from .one_hot_cases import CASES, Case, agreement, inputs, plain_one_hot_attention

HALVES = [torch.float16, torch.bfloat16]
TYPES = [torch.float32, *HALVES]
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed here"
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
SHAPE = (2, 3, 10, 4)


# The chunked form


@given(limit=st.integers(1, 10**5), keys=st.integers(1, 13))
def test_chunks_do_not_change_the_result(limit, keys):
    query, key, value = torch.randn(SHAPE), torch.randn(2, 3, keys, 4), torch.randn(2, 3, keys, 4)
    expected = plain_one_hot_attention(query, key, value)
    assert_near(chunked_one_hot_attention(query, key, value, limit), expected)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_chunks_equal_the_definition(case, dtype):
    query, key, value = inputs(case, dtype)
    found = chunked_one_hot_attention(query, key, value, limit=40_000)
    assert found.dtype == dtype
    assert agreement(found, plain_one_hot_attention(query, key, value)) >= 0.99


def test_gradients_are_those_of_the_definition():
    tensors = [torch.randn(SHAPE, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    expected = torch.autograd.grad(plain_one_hot_attention(*tensors).square().sum(), tensors)
    found = chunked_one_hot_attention(*tensors, limit=200).square().sum()
    assert_near(torch.autograd.grad(found, tensors), expected)


def test_a_negative_similarity_stays_negative():
    query, key = torch.ones(1, 1, 1, 4), -torch.ones(1, 1, 1, 4)
    assert_near(one_hot_attention(query, key, -key), torch.full((1, 1, 1, 4), -2.0))


@given(st.lists(st.integers(-2, 2), min_size=64, max_size=64), st.sampled_from([64, 128, 192, 50]))
def test_of_equal_keys_the_first_is_taken(numbers, keys):
    """Small integers tie often; they are spread over several runs of 64."""
    key = torch.tensor(numbers, dtype=torch.float32).repeat(3)[:keys].view(1, 1, keys, 1)
    value = torch.arange(1.0, keys + 1).view(1, 1, keys, 1)
    first = next(i for i in range(keys) if key.flatten()[i] == key.max())
    found = chunked_one_hot_attention(torch.ones(1, 1, 1, 1), key, value)
    assert found.item() == (first + 1) * key.max().item()


def test_what_is_not_a_number_is_not_hidden():
    """An overflow in half precision must reach those who look for it, and not change its key."""
    query, key, value = inputs(Case(1, 2, 9, 8, 128), torch.float32)
    key[0, 0, 70, 3] = float("nan")
    found = chunked_one_hot_attention(query, key, value)
    assert found[0, 0].isnan().all()
    assert found[0, 1].isfinite().all()


def test_half_precision_chooses_as_float32_does():
    """Two keys that only rounded similarities would call equal."""
    query = torch.ones(1, 1, 1, 64)
    key = torch.ones(1, 1, 2, 64)
    key[0, 0, 1, 0] += 2**-7  # 64 + 2^-7: half precision has no such number
    value = torch.tensor([1.0, 3.0]).view(1, 1, 2, 1).expand(1, 1, 2, 64)
    for dtype in HALVES:
        found = chunked_one_hot_attention(query.to(dtype), key.to(dtype), value.to(dtype))
        assert_near(found.float(), torch.full((1, 1, 1, 64), 24.0))


PEAK = """
import json, sys, torch
from pathlib import Path
from coser_cli.models import aia, one_hot

def peak():
    # not getrusage: that begins with what the parent of the process had
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024

torch.set_num_threads(1)
with torch.no_grad():
    whole = torch.randn(3, 1, 4096, 5, 64).transpose(2, 3)
    half = whole.bfloat16()
    one_hot.one_hot_attention(*whole[:, :, :, :8])
    before = peak()
    results = [one_hot.one_hot_attention(*whole), one_hot.one_hot_attention(*half)]
    made = sum(each.nbytes for each in results)
    assert "triton" not in sys.modules
    chunked = peak() - before - made
    plain_one_hot_attention(*whole)
print(json.dumps([chunked, peak() - before - made]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_at_4096_tokens_and_five_heads_chunks_take_less_than_64_mb():
    """Beyond inputs and results, float32 and bfloat16; the process's own peak, which nothing
    escapes. That the whole matrix shows there says that it is measured.
    """
    chunked, plain = json.loads(subprocess.check_output([sys.executable, "-c", PEAK], text=True))
    assert chunked < 64 * 2**20
    assert plain > 300 * 2**20


# The kernel


def run_apart(function, **environment):
    """JSON printed by a function of `one_hot_cases`, in a process of its own."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    code += f"import one_hot_cases; one_hot_cases.{function}()"
    usual = {name: word for name, word in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=usual | environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def interpreted():
    return run_apart("report")


@needs_triton
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_kernel_equals_the_definition(interpreted, case, dtype):
    """Of 100 queries one may find another key, where two are equal but for rounding."""
    assert interpreted[f"{str(dtype).removeprefix('torch.')} {case}"] >= 0.99


@pytest.mark.slow
@needs_triton
def test_the_kernel_compiles_for_gpus(tmp_path):
    """Triton's compiler and assembler need no GPU: what the interpreter lets pass, they do not."""
    made = run_apart("compiled", TRITON_CACHE_DIR=str(tmp_path))
    assert all(each["code"] > 0 and each["shared"] < 99 * 1024 for each in made.values())
    assert {name: each["products"] for name, each in made.items()} == {
        "80 fp32": [],  # not rounded to tf32
        "90 bf16": ["wgmma.mma_async"],
        "100 bf16": ["tcgen05.mma"],
    }


@needs_gpu
@needs_triton
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("case", [*CASES, Case(1, 5, 4096, 64, 8192)], ids=str)
def test_the_kernel_on_a_gpu(case, dtype):
    from coser_cli.models.one_hot_triton import fused_one_hot_attention

    tensors = inputs(case, dtype, "cuda")
    expected = plain_one_hot_attention(*(x.cpu() for x in tensors))
    assert agreement(fused_one_hot_attention(*tensors).cpu(), expected) >= 0.99
    assert agreement(chunked_one_hot_attention(*tensors).cpu(), expected) >= 0.99


@needs_gpu
@needs_triton
def test_on_a_gpu_the_kernel_is_taken(afresh):
    tensors = inputs(CASES[0], torch.float16, "cuda")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_hot_attention(*tensors)
    assert one_hot._checked


# From one to the other


@pytest.fixture
def afresh(monkeypatch):
    """A process that has not tried the kernel."""
    monkeypatch.setattr(one_hot, "_given_up", False)
    monkeypatch.setattr(one_hot, "_checked", set())


@pytest.fixture
def wanted(afresh, monkeypatch):
    """The kernel is asked for on any device, which CPU tensors then make fail."""
    monkeypatch.setattr(one_hot, "_kernel_is_for", lambda *tensors: True)
    monkeypatch.setattr(one_hot, "_obstacle", lambda device: "")


def told(*tensors):
    """The result, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = one_hot_attention(*tensors)
    assert all(issubclass(each.category, CoserWarning) for each in caught)
    return found, [str(each.message) for each in caught]


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the kernel would work")
def test_a_kernel_that_fails_is_replaced_and_told_of_once(wanted):
    """Real failures: no triton, no driver, or tensors that a GPU cannot reach."""
    tensors = inputs(CASES[1], torch.float16)
    expected = plain_one_hot_attention(*tensors)
    found, warned = told(*tensors)
    assert agreement(found, expected) == 1
    assert len(warned) == 1 and "\n" not in warned[0]
    assert "computed in chunks instead" in warned[0]
    again, warned = told(*tensors)
    assert torch.equal(again, found)
    assert not warned


def kernel_that(monkeypatch, act):
    """The launcher replaced; gives the list of its calls."""
    module = pytest.importorskip("coser_cli.models.one_hot_triton")
    calls = []

    def launch(*tensors):
        calls.append(tensors)
        return act(*tensors)

    monkeypatch.setattr(module, "fused_one_hot_attention", launch)
    return calls


@needs_triton
def test_a_kernel_too_large_for_the_gpu_is_tried_once(wanted, monkeypatch):
    from triton.runtime.errors import OutOfResources

    def fail(*tensors):
        raise OutOfResources(120_000, 101_376, "shared memory")

    calls = kernel_that(monkeypatch, fail)
    tensors = inputs(CASES[0], torch.float32)
    for expected in ([1], []):
        found, warned = told(*tensors)
        assert [1 for each in warned if "shared memory" in each] == expected
        assert agreement(found, plain_one_hot_attention(*tensors)) == 1
    assert len(calls) == 1


@needs_triton
def test_wrong_results_never_reach_a_picture(wanted, monkeypatch):
    calls = kernel_that(
        monkeypatch, lambda query, key, value: value.flip(2)[:, :, : query.shape[2]]
    )
    tensors = inputs(CASES[0], torch.float32)
    found, (warned,) = told(*tensors)
    assert "wrong on this GPU" in warned
    assert agreement(found, plain_one_hot_attention(*tensors)) == 1
    told(*tensors)
    assert len(calls) == 1


@needs_triton
def test_right_results_are_checked_once_per_kind_and_taken(wanted, monkeypatch):
    made = []

    def act(*tensors):
        made.append(plain_one_hot_attention(*tensors))
        return made[-1]

    kernel_that(monkeypatch, act)
    for dtype in (torch.float32, torch.float32, torch.float16):
        found, warned = told(*inputs(CASES[0], dtype))
        assert found is made[-1]
        assert not warned
    assert len(one_hot._checked) == 2


@needs_triton
def test_want_of_memory_is_passed_on(wanted, monkeypatch):
    """Chunks would want more; whoever asked can ask for less at a time."""

    def fail(*tensors):
        raise torch.OutOfMemoryError("CUDA out of memory")

    kernel_that(monkeypatch, fail)
    with pytest.raises(torch.OutOfMemoryError):
        one_hot_attention(*inputs(CASES[0], torch.float32))
    assert not one_hot._given_up


def test_an_old_gpu_is_told_of(wanted, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert one_hot._obstacle.__wrapped__(torch.device("cuda")) == (
        "it needs compute capability 8.0, this GPU has 7.5"
    )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert not one_hot._obstacle.__wrapped__(torch.device("cuda"))


def test_on_a_cpu_nothing_is_tried_or_told(afresh):
    _, warned = told(*inputs(CASES[0], torch.float32))
    assert not warned and not one_hot._given_up


class OnGpu(NamedTuple):
    """What the choice looks at, of a tensor."""

    dtype: torch.dtype
    requires_grad: bool = False
    is_cuda: bool = True


def test_whom_the_kernel_is_for(monkeypatch):
    def asked(*args, **kwargs):
        return one_hot._kernel_is_for(*[OnGpu(*args, **kwargs)] * 3)

    assert asked(torch.float16)
    assert not asked(torch.float64)
    assert not asked(torch.float16, is_cuda=False)
    assert not asked(torch.float16, requires_grad=True)
    with torch.no_grad():
        assert asked(torch.float16, requires_grad=True)
    monkeypatch.setenv("COSER_FUSED", "0")
    assert not asked(torch.float16)
