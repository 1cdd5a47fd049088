"""Clients take turns, whatever each still has to do."""

import threading
import time

import pytest

from coser_cli.server.turns import Turns


def test_two_clients_alternate():
    turns, order, both = Turns(), [], threading.Barrier(2)

    def client(name):
        both.wait()
        for _ in range(5):
            with turns.turn(lambda: None):
                order.append(name)
                time.sleep(0.02)  # the other comes back and waits meanwhile

    threads = [threading.Thread(target=client, args=(name,)) for name in "ab"]
    for each in threads:
        each.start()
    for each in threads:
        each.join(10)
    assert "".join(order) in ("ababababab", "bababababa")


def test_who_comes_later_waits_behind_who_waits():
    turns, order, threads = Turns(), [], []
    with turns.turn(lambda: None):
        for name in "abc":

            def wait(name=name):
                with turns.turn(lambda: None):
                    order.append(name)

            threads.append(threading.Thread(target=wait))
            threads[-1].start()
            time.sleep(0.05)
        assert turns.taken
    for each in threads:
        each.join(10)
    assert order == ["a", "b", "c"]
    assert not turns.taken


def test_who_gives_up_is_passed_by():
    turns = Turns()

    def gone():
        raise ConnectionError

    with turns.turn(lambda: None), pytest.raises(ConnectionError), turns.turn(gone):
        pytest.fail("it was not free")
    with turns.turn(gone):  # free: nobody has to wait, or to look
        assert turns.taken
