"""Steps as graphs: recorded once, replayed on what is copied in; given up in one line."""

import logging
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from coser_cli.engine.compute.cuda_graphs import MOST_GRAPHS, PATIENCE, CudaCapture, Graphed
from coser_cli.engine.compute.execution import Execution
from coser_cli.models.step import form_of, leaves, with_leaves
from coser_cli.settings import Settings

NETWORK = torch.nn.Identity()


class Recorded:
    """Stands in for the CUDA graphs: what is recorded runs again, on the same memory."""

    def __init__(self):
        self.captures = self.replays = 0

    def __call__(self, function):
        self.captures += 1
        function()  # the warm-up
        function()

        def replay():
            self.replays += 1
            function()

        return replay


@dataclass(frozen=True)
class Tree:
    first: Tensor
    second: tuple[Tensor, ...]
    third: Tensor | None = None


def tree(seed, size=3, third=False):
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(2, size, generator=generator) for _ in range(4)]
    return Tree(made[0], (made[1], made[2].T), made[3] if third else None)


def total(network, given):
    """Every number counts."""
    maps = [leaf.reshape(2, -1) if leaf.shape[0] == 2 else leaf.T for leaf in leaves(given)]
    return sum(network(each) * (index + 1) for index, each in enumerate(maps))


def test_a_tree_is_taken_apart_and_put_together():
    given = tree(1, third=True)
    again = with_leaves(given, iter(leaves(given)))
    assert again == replace(given, second=again.second)
    assert [*map(id, leaves(again))] == [*map(id, leaves(given))] and len(leaves(given)) == 4
    assert form_of(given) == form_of(tree(2, third=True))
    assert form_of(given) not in (form_of(tree(1)), form_of(tree(1, 4, third=True)))
    with pytest.raises(TypeError, match="holds no int"):
        leaves((given, 3))


def test_a_form_is_recorded_once_it_has_been_seen_and_replayed_with_new_numbers():
    capture = Recorded()
    run = Graphed(capture)
    for seed in range(PATIENCE + 4):
        given = tree(seed)
        found = run(total, NETWORK, given)
        assert torch.equal(found, total(NETWORK, given))
        assert capture.captures == (seed >= PATIENCE)
    assert capture.replays == 4 and run.count == 1


def test_results_outlive_the_next_replay():
    run = Graphed(Recorded())
    found = [run(total, NETWORK, tree(seed)) for seed in range(PATIENCE + 3)]
    for seed, each in enumerate(found):
        assert torch.equal(each, total(NETWORK, tree(seed)))


def test_each_form_has_a_graph_of_its_own_up_to_a_number(caplog):
    capture = Recorded()
    run = Graphed(capture)
    for size in range(1, MOST_GRAPHS + 4):
        for seed in range(PATIENCE + 2):
            given = tree(seed, size, third=size == 2)
            assert torch.equal(run(total, NETWORK, given), total(NETWORK, given))
    assert capture.captures == run.count == MOST_GRAPHS
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


@pytest.mark.parametrize("leaf", range(4))
def test_what_is_baked_in_is_found_before_it_is_used(caplog, leaf):
    """A capture that has kept one of the inputs as it was."""
    inner = Recorded()

    def baking(network, given):
        if inner.captures and leaf not in kept:
            kept[leaf] = leaves(given)[leaf].clone()
        found = leaves(given)
        return total(
            network, with_leaves(given, iter(kept.get(i, each) for i, each in enumerate(found)))
        )

    kept = {}
    run = Graphed(inner)
    for seed in range(PATIENCE + 1):
        given = tree(seed, third=True)
        assert torch.equal(run(baking, NETWORK, given), total(NETWORK, given))
    assert inner.replays == 1 and run.count == 0
    (record,) = caplog.records
    assert "CUDA graphs were given up: its result is not that" in record.getMessage()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("operation not permitted when stream is capturing\nmore"), "not permitted"),
        (torch.OutOfMemoryError("CUDA out of memory"), "the memory does not suffice"),
    ],
)
def test_a_capture_that_fails_is_told_in_one_line(caplog, error, words):
    def capture(function):
        function()
        raise error

    run = Graphed(capture)
    for seed in range(2 * PATIENCE + 3):
        given = tree(seed)
        assert torch.equal(run(total, NETWORK, given), total(NETWORK, given))
    (record,) = caplog.records
    assert words in record.getMessage() and "\n" not in record.getMessage()


def test_graphs_give_their_memory_back_where_it_does_not_suffice(caplog):
    run = Graphed(Recorded())
    short = [False]

    def hungry(network, given):
        if leaves(given)[0].shape[1] == 7 and not short[0]:
            short[0] = True
            raise torch.OutOfMemoryError("CUDA out of memory")
        return total(network, given)

    for seed in range(PATIENCE + 2):
        run(hungry, NETWORK, tree(seed))
    assert run.count == 1
    given = tree(1, 7)
    assert torch.equal(run(hungry, NETWORK, given), total(NETWORK, given))
    assert run.count == 0 and len(caplog.records) == 1


def test_memory_that_does_not_suffice_without_graphs_is_the_callers(caplog):
    def hungry(network, given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        Graphed(Recorded())(hungry, NETWORK, tree(1))
    assert not caplog.records


def test_results_that_are_not_finite_are_not_recorded():
    capture = Recorded()
    run = Graphed(capture)
    for _ in range(PATIENCE + 3):
        given = replace(tree(1), first=torch.full((2, 3), torch.inf))
        run(total, NETWORK, given)
    assert capture.captures == 0


def test_whole_pictures_by_graphs_are_those_without(make_toy):
    """Times, contexts, hints and latents of two pictures all go through the graph's memory."""
    toy, plain = make_toy().upscaler, make_toy().upscaler
    capture = Recorded()
    toy.model.execute = Execution(graphed=Graphed(capture))
    settings = Settings(scale=2, steps=PATIENCE + 2, strength=1, reference_strength=1, seed=3)
    for seed in (0, 1):
        pixels = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(seed))
        found = toy.upscale(pixels, settings).pixels
        assert torch.equal(found, plain.upscale(pixels, settings).pixels)
    # the U-Net in the reference's pass and in the result's, and the ControlNet
    assert capture.captures == 3
    assert capture.replays == 3 * (2 + PATIENCE + 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_graph_computes_with_what_is_copied_in(caplog):
    device = torch.device("cuda")
    network = torch.nn.Linear(3, 3).to(device)
    run = Graphed(CudaCapture(device))

    def step(network, given):
        return network(given.first) + given.second[0] * given.second[1].T

    with torch.inference_mode():
        for seed in range(PATIENCE + 5):
            given = tree(seed)
            given = with_leaves(given, iter([leaf.to(device) for leaf in leaves(given)]))
            found = run(step, network, given)
            torch.testing.assert_close(found, step(network, given))
    assert run.count == 1 and not caplog.records


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("compile", [False, True])
def test_the_bundled_model_on_a_gpu_by_graphs(caplog, compile):
    from coser_cli.engine.upscaler import Upscaler

    settings = Settings(scale=2, steps=8, strength=0.5, reference_strength=1)
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain = Upscaler.from_pretrained("mini", device="cuda", dtype="float32", offload="none")
    fast = Upscaler.from_pretrained(
        "mini", device="cuda", dtype="float32", offload="none", compile=compile, cuda_graphs=True
    )
    found = fast.upscale(pixels, settings).pixels
    assert (found - plain.upscale(pixels, settings).pixels).abs().mean() < 2e-3
    assert fast.model.execute.graphed.count == 3
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
