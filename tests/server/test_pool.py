"""How many models are kept, and which go."""

import pytest

from coser_cli.server import pool as pool_module
from coser_cli.server.pool import BusyError, Kind, Pool
from coser_cli.settings import Compute


def kind(model):
    return Kind(Compute(model), (), ())


def models(pool):
    return {each.model for each in pool.models}


def test_runs_of_one_kind_share_a_process():
    pool = Pool(1, None)
    with pool.seat(kind("a")) as one, pool.seat(kind("a")) as other:
        assert one is other
        assert pool.models[0].runs == 2
    assert pool.models[0].runs == 0


def test_the_one_that_was_not_used_for_longest_goes():
    pool = Pool(2, None)
    for model in "aba":
        with pool.seat(kind(model)):
            pass
    with pool.seat(kind("c")):
        assert models(pool) == {"a", "c"}


def test_what_is_in_use_stays():
    pool = Pool(1, None)
    with pool.seat(kind("a")), pytest.raises(BusyError, match="all 1 models"), pool.seat(kind("b")):
        pass
    with pool.seat(kind("b")):
        assert models(pool) == {"b"}


def test_idle_ones_go_where_memory_is_exceeded(monkeypatch):
    memory = {"a": 3, "b": 4}
    pool = Pool(5, 10)

    def held(_):
        return sum(memory.get(each.kind.compute.model, 5) for each in pool._seats.values())

    monkeypatch.setattr(pool_module, "resident_memory", held)
    with pool.seat(kind("a")):
        with pool.seat(kind("b")):
            pass
        assert models(pool) == {"a", "b"}
        with pool.seat(kind("c")):
            assert models(pool) == {"a", "b", "c"}
        assert models(pool) == {"a", "c"}  # b is the older of two that are idle


def test_nothing_begins_any_more():
    pool = Pool(2, None)
    with pool.seat(kind("a")) as seat:
        pool.end()
        assert seat.ended.is_set()
        assert not pool.models
