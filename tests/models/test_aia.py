import pytest
import torch

from coser_cli.models.aia import PLACES, AiATransformer, initialise_condition
from coser_cli.models.attention import match_batch
from coser_cli.models.one_hot import one_hot_attention
from coser_cli.models.transformer import prepare_context

from .conftest import assert_near, randomise


def test_match_batch_is_branch_major():
    x = torch.arange(2).view(2, 1)
    assert match_batch(x, 6).flatten().tolist() == [0, 1, 0, 1, 0, 1]
    assert match_batch(x[:1], 3).flatten().tolist() == [0, 0, 0]


@pytest.fixture
def transformer():
    return randomise(AiATransformer(32, 16, 24, groups=8, control_dim=16))


def test_copies_of_a_reference_change_nothing(transformer):
    x, low_res, reference = (
        torch.randn(2, 32, 6, 4),
        torch.randn(2, 16, 6, 4),
        torch.randn(2, 16, 5, 4),
    )
    context = prepare_context([transformer], [torch.randn(2, 7, 24)])
    one = transformer(x, context, 2, {"low_res": low_res, "reference": reference})
    copies = reference.repeat(3, 1, 1, 1)
    three = transformer(x, context, 2, {"low_res": low_res, "reference": copies})
    assert_near(one, three)


def test_a_better_reference_among_several_is_found(transformer):
    """With several references the best patch of all of them wins, per head and query."""
    low_res, references = torch.randn(1, 16, 6, 4), torch.randn(2, 16, 5, 4)
    tokens = transformer.low_res_tokens(low_res)
    attention = transformer.block.reference_attn
    joint = transformer.reference_tokens(references, 1)
    assert joint.shape == (1, 40, 32)
    query = attention.query(tokens)
    similarities = [
        (query @ attention.key_value(t)[0].transpose(2, 3)).amax(-1)
        for t in (joint, *(transformer.reference_tokens(r[None], 1) for r in references))
    ]
    assert_near(similarities[0], torch.maximum(*similarities[1:]))


def test_each_token_takes_from_the_reference_that_fits_it_best(transformer):
    """What is found among two references is, per head and query, what the better one gives."""
    low_res, references = torch.randn(1, 16, 6, 4), torch.randn(2, 16, 5, 4)
    attention = transformer.block.reference_attn
    query = attention.query(transformer.low_res_tokens(low_res))

    def search(maps):
        key, value = attention.key_value(transformer.reference_tokens(maps, 1))
        return one_hot_attention(query, key, value), (query @ key.transpose(2, 3)).amax(-1)

    (joint, _), (first, near_first), (second, near_second) = (
        search(maps) for maps in (references, references[:1], references[1:])
    )
    first_wins = (near_first > near_second).unsqueeze(-1)
    assert first_wins.any()
    assert not first_wins.all()
    assert_near(joint, torch.where(first_wins, first, second))


def test_without_a_reference_only_the_low_resolution_attention_is_left(transformer):
    x, low_res = torch.randn(1, 32, 6, 4), torch.randn(1, 16, 6, 4)
    context = prepare_context([transformer], [torch.randn(1, 7, 24)])
    with_none = transformer(x, context, 1, {"low_res": low_res})
    for parameter in transformer.block.reference_out.parameters():
        torch.nn.init.zeros_(parameter)
    controls = {"low_res": low_res, "reference": torch.randn(1, 16, 6, 4)}
    assert_near(transformer(x, context, 1, controls), with_none)
    assert not torch.allclose(with_none, transformer(x, context, 1))


def test_the_paper_projects_the_reference():
    projected = AiATransformer(32, 16, 24, 8, 32, project_reference=True)
    assert {"reference_proj.weight", "reference_proj.bias"} <= projected.state_dict().keys()
    maps = torch.randn(1, 32, 4, 4)
    before = projected.reference_tokens(maps, 1)
    projected.reference_proj = torch.nn.Identity()
    assert not torch.allclose(before, projected.reference_tokens(maps, 1))


@pytest.fixture
def with_edges():
    torch.manual_seed(3)
    return AiATransformer(32, 16, 24, groups=8, control_dim=16, conditions=("edges", "depth"))


def test_a_further_condition_adds_nothing_until_it_is_trained(with_edges):
    torch.manual_seed(3)
    plain = AiATransformer(32, 16, 24, groups=8, control_dim=16)
    state = with_edges.state_dict()
    plain.load_state_dict({name: state[name] for name in plain.state_dict()})
    x, maps = torch.randn(1, 32, 6, 4), {"low_res": torch.randn(1, 16, 6, 4)}
    context = prepare_context([plain], [torch.randn(1, 7, 24)])
    expected = plain(x, context, 1, maps)
    assert torch.equal(with_edges(x, context, 1, maps), expected)
    found = with_edges(x, context, 1, maps | {"edges": torch.randn(1, 16, 6, 4)})
    assert torch.equal(found, expected)


def test_each_further_condition_has_layers_of_its_own(with_edges):
    randomise(with_edges)
    x, maps = torch.randn(1, 32, 6, 4), {"low_res": torch.randn(1, 16, 6, 4)}
    context = prepare_context([with_edges], [torch.randn(1, 7, 24)])
    picture = torch.randn(1, 16, 6, 4)
    without, edges, depth, both = (
        with_edges(x, context, 1, maps | dict.fromkeys(names, picture))
        for names in ((), ("edges",), ("depth",), ("edges", "depth"))
    )
    results = [without, edges, depth, both]
    for index, one in enumerate(results):
        assert not any(torch.allclose(one, other) for other in results[index + 1 :])


def test_a_further_condition_starts_as_the_low_resolution_attention(with_edges):
    randomise(with_edges)
    initialise_condition(with_edges, "edges")
    maps = torch.randn(1, 16, 6, 4)
    tokens = with_edges.condition_tokens["edges"](maps)[..., :-PLACES]
    assert torch.equal(tokens, with_edges.low_res_tokens(maps))
    depth = with_edges.condition_tokens["depth"](maps)[..., :-PLACES]
    assert not torch.allclose(depth, with_edges.low_res_tokens(maps))
