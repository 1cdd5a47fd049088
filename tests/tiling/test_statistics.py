"""Statistics gathered in parts are those of the whole."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coser_cli.tiling.statistics import Statistics


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.sampled_from([1, 2, 3, 6]),
    st.floats(-1e4, 1e4),
    st.integers(0, 2**32),
)
def test_parts_merge_to_the_whole(widths, groups, offset, seed):
    generator = torch.Generator().manual_seed(seed)
    whole = torch.randn(1, 6, 5, sum(widths), generator=generator, dtype=torch.float64)
    parts = list(whole.split(widths, dim=3))
    for number, part in enumerate(parts):
        part += offset * number  # tiles that differ: the variance between them must count
    found = Statistics.of(parts[0], groups)
    for part in parts[1:]:
        found = found + Statistics.of(part, groups)
    grouped = whole.reshape(groups, -1)
    assert found.count == grouped.shape[1]
    torch.testing.assert_close(found.mean, grouped.mean(1))
    torch.testing.assert_close(found.variance, grouped.var(1, correction=0))


def test_a_small_spread_about_a_large_mean_is_not_lost_in_float32():
    values = 1000 + torch.randn(1, 4, 200, 200) * 0.01
    expected = values.double().reshape(2, -1).var(1, correction=0)
    torch.testing.assert_close(Statistics.of(values, 2).variance, expected, rtol=1e-9, atol=0)
