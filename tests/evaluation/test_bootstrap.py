"""Intervals that are known in closed form, or by counting."""

import numpy as np
import pytest

from coser_cli.evaluation.bootstrap import (
    mean_interval,
    paired_difference,
    share_interval,
    summarize,
)


def test_the_interval_of_a_mean_is_nearly_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = mean_interval(values)
    error = values.std() / 20
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.02
    )


def test_intervals_cover_the_true_mean_as_often_as_they_say():
    rng = np.random.default_rng(1)
    intervals = [mean_interval(rng.exponential(1, 60), seed) for seed in range(150)]
    covered = sum(low <= 1 <= high for low, high in intervals)
    assert 130 <= covered <= 150


def test_the_same_every_time():
    assert mean_interval([1, 2, 5, 9]) == mean_interval([1, 2, 5, 9])


def test_one_picture_has_no_interval():
    found = summarize([3.5])
    assert (found.mean, found.median, found.interval) == (3.5, 3.5, None)


def test_a_summary():
    found = summarize([1, 2, 3, 10])
    assert (found.mean, found.median) == (4, 2.5)
    assert found.interval[0] < 4 < found.interval[1]


@pytest.mark.parametrize(("better", "wins", "losses"), [(1, 2, 1), (-1, 1, 2)])
def test_wins_follow_what_is_better(better, wins, losses):
    found = paired_difference([3, 4, 1, 7], [2, 3, 2, 7], better)
    assert (found.wins, found.losses, found.ties) == (wins, losses, 1)
    assert found.mean == 0.25
    assert found.interval[0] <= 0 <= found.interval[1]


def test_a_small_difference_is_clear_where_all_pictures_agree():
    first = np.random.default_rng(2).normal(25, 5, 50)
    second = first - 0.1 + np.random.default_rng(3).normal(0, 0.02, 50)
    found = paired_difference(list(first), list(second), 1)
    assert found.interval == pytest.approx((0.1, 0.1), abs=0.01)
    separately = summarize(list(first)).interval, summarize(list(second)).interval
    assert separately[0][0] < separately[1][1]  # alone, neither would show it


def test_different_numbers_of_pictures_are_an_error():
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([1, 2], [1], 1)


def test_wilsons_interval():
    """Against the formula of Wilson (1927)."""
    z, n, share = 1.959964, 20, 0.7
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * ((share * (1 - share) + z * z / (4 * n)) / n) ** 0.5 / (1 + z * z / n)
    assert share_interval(14, 20) == pytest.approx((middle - half, middle + half), abs=1e-6)
    assert share_interval(0, 0) is None
