"""One-hot attention in chunks is its definition, and takes little memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coser_cli.models.one_hot import one_hot_attention

from .conftest import assert_near
from .one_hot_cases import CASES, Case, agreement, inputs, plain_one_hot_attention

HALVES = [torch.float16, torch.bfloat16]
TYPES = [torch.float32, *HALVES]
SHAPE = (2, 3, 10, 4)


@given(limit=st.integers(1, 10**5), keys=st.integers(1, 13))
def test_chunks_do_not_change_the_result(limit, keys):
    query, key, value = torch.randn(SHAPE), torch.randn(2, 3, keys, 4), torch.randn(2, 3, keys, 4)
    expected = plain_one_hot_attention(query, key, value)
    assert_near(one_hot_attention(query, key, value, limit), expected)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_chunks_equal_the_definition(case, dtype):
    query, key, value = inputs(case, dtype)
    found = one_hot_attention(query, key, value, limit=40_000)
    assert found.dtype == dtype
    assert agreement(found, plain_one_hot_attention(query, key, value)) >= 0.99


def test_gradients_are_those_of_the_definition():
    tensors = [torch.randn(SHAPE, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    expected = torch.autograd.grad(plain_one_hot_attention(*tensors).square().sum(), tensors)
    found = one_hot_attention(*tensors, limit=200).square().sum()
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
    found = one_hot_attention(torch.ones(1, 1, 1, 1), key, value)
    assert found.item() == (first + 1) * key.max().item()


def test_what_is_not_a_number_is_not_hidden():
    """An overflow in half precision must reach those who look for it, and not change its key."""
    query, key, value = inputs(Case(1, 2, 9, 8, 128), torch.float32)
    key[0, 0, 70, 3] = float("nan")
    found = one_hot_attention(query, key, value)
    assert found[0, 0].isnan().all()
    assert found[0, 1].isfinite().all()


def test_half_precision_chooses_as_float32_does():
    """Two keys that only rounded similarities would call equal."""
    query = torch.ones(1, 1, 1, 64)
    key = torch.ones(1, 1, 2, 64)
    key[0, 0, 1, 0] += 2**-7  # 64 + 2^-7: half precision has no such number
    value = torch.tensor([1.0, 3.0]).view(1, 1, 2, 1).expand(1, 1, 2, 64)
    for dtype in HALVES:
        found = one_hot_attention(query.to(dtype), key.to(dtype), value.to(dtype))
        assert_near(found.float(), torch.full((1, 1, 1, 64), 24.0))


PEAK = """
import json, sys, torch
from pathlib import Path
from coser_cli.models.one_hot import one_hot_attention
from one_hot_cases import plain_one_hot_attention

def peak():
    # not getrusage: that begins with what the parent of the process had
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024

torch.set_num_threads(1)
with torch.no_grad():
    whole = torch.randn(3, 1, 4096, 5, 64).transpose(2, 3)
    half = whole.bfloat16()
    one_hot_attention(*whole[:, :, :, :8])
    before = peak()
    results = [one_hot_attention(*whole), one_hot_attention(*half)]
    made = sum(each.nbytes for each in results)
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
    chunked, plain = json.loads(
        subprocess.check_output([sys.executable, "-c", PEAK], text=True, cwd=Path(__file__).parent)
    )
    assert chunked < 64 * 2**20
    assert plain > 300 * 2**20
