from __future__ import annotations

import gc
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coser_cli.engine.compute.retry import (
    NotFiniteError,
    free_cache,
    is_out_of_memory,
    require_finite,
    with_smaller_batches,
)
from coser_cli.errors import DeviceError

FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    MemoryError(),
]


@pytest.mark.parametrize("error", FULL)
def test_out_of_memory_is_known(error):
    assert is_out_of_memory(error)


def test_a_real_refusal_of_the_allocator_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), ValueError("memory"), OSError(12)]
)
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)


def test_freeing_ends_cycles():
    class Cycle:
        def __init__(self):
            self.me = self

    gone = weakref.ref(Cycle())
    gc.disable()
    try:
        free_cache(torch.device("cpu"))
    finally:
        gc.enable()
    assert gone() is None


class Device:
    """Squares numbers, as long as no more than `room` come at once."""

    def __init__(self, room, error=FULL[0]):
        self.room = room
        self.error = error
        self.tried = []
        self.done = []

    def run(self, items):
        self.tried.append(len(items))
        if len(items) > self.room:
            raise self.error
        self.done += items
        return [item * item for item in items]


@given(st.lists(st.integers(), max_size=40), st.integers(1, 16), st.integers(1, 16))
def test_nothing_is_lost_or_done_twice(items, batch, room):
    device = Device(room)
    assert with_smaller_batches(device.run, items, batch) == [item**2 for item in items]
    assert device.done == items


@pytest.mark.parametrize("error", FULL)
def test_the_smaller_batch_is_kept(error):
    device, told = Device(2, error), []
    with_smaller_batches(device.run, range(12), 8, told.append)
    assert device.tried == [8, 4, 2, 2, 2, 2, 2, 2]
    assert told == [4, 2]


def test_a_failure_midway_keeps_what_is_finished():
    device = Device(4)

    def run(items):
        device.room = 1 if 4 in items else 4
        return device.run(items)

    assert with_smaller_batches(run, range(8), 4) == [i * i for i in range(8)]
    assert device.done == list(range(8))


def test_one_that_does_not_fit_ends_it():
    device = Device(0)
    with pytest.raises(DeviceError, match="memory of cpu does not suffice for one tile") as caught:
        with_smaller_batches(device.run, range(4), 4, device=torch.device("cpu"), what="tile")
    assert device.tried == [4, 2, 1]
    assert "--low-memory" in caught.value.hint


def test_a_bug_is_not_tried_again():
    device = Device(0, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        with_smaller_batches(device.run, range(4), 4)
    assert device.tried == [4]


def test_what_a_failed_attempt_held_is_gone_before_the_next():
    held = []

    def run(items):
        assert all(ref() is None for ref in held)
        maps = torch.zeros(8)
        held.append(weakref.ref(maps))
        if len(items) > 1:
            raise torch.OutOfMemoryError
        return list(items)

    assert with_smaller_batches(run, range(2), 2) == [0, 1]
    assert len(held) == 3


GOOD, BAD = torch.ones(3), torch.tensor([1.0, float("inf"), float("nan")])


def test_finite_results_are_left_alone():
    def redo():
        raise AssertionError("not needed")

    assert require_finite(GOOD, redo) is GOOD
    assert require_finite((GOOD, GOOD), redo) == (GOOD, GOOD)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_infinite_results_are_done_again(value):
    bad = torch.tensor([0.0, float(value)])
    assert require_finite(bad, lambda: GOOD) is GOOD
    assert require_finite((GOOD, bad), lambda: (GOOD, GOOD)) == (GOOD, GOOD)


def test_once_is_enough():
    tries = []

    def redo():
        tries.append(1)
        return BAD

    with pytest.raises(NotFiniteError, match="tile is infinite") as caught:
        require_finite(BAD, redo, "tile")
    assert tries == [1]
    assert isinstance(caught.value, DeviceError)
    with pytest.raises(NotFiniteError):
        require_finite(BAD)
