"""Sizes asked for in pixels: exact, for every picture."""

from fractions import Fraction

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from coser_cli.batch.fit import Fit
from coser_cli.errors import InputError, UsageError
from coser_cli.settings import Settings
from coser_cli.size import Size

SIDES = st.integers(1, 70000)


def result(fit, size):
    """Width and height that the engine makes of it."""
    settings = Settings(scale=fit.scale(Size.of_wh(size)))  # checks the limits, too
    return Size.of_wh(size).scaled(settings.scale).wh


@given(SIDES, SIDES, st.data())
@example(1, 1, None)
def test_a_named_side_is_exact_and_the_other_follows(width, height, data):
    wanted = width if data is None else data.draw(st.integers(width, 16 * width))
    made = result(Fit(width=wanted), (width, height))
    assert made[0] == wanted
    assert abs(made[1] - Fraction(height * wanted, width)) <= Fraction(1, 2)
    turned = result(Fit(height=wanted), (height, width))
    assert turned == made[::-1]


@given(SIDES, SIDES, st.data())
def test_the_longer_side_is_exact(width, height, data):
    longer = max(width, height)
    wanted = data.draw(st.integers(longer, 16 * longer))
    made = result(Fit(max_side=wanted), (width, height))
    assert max(made) == wanted
    assert (made[0] >= made[1]) == (width >= height) or made[0] == made[1]


@settings(suppress_health_check=[HealthCheck.filter_too_much])  # most frames are too small
@given(SIDES, SIDES, st.integers(1, 10**6), st.integers(1, 10**6))
def test_both_sides_are_a_frame(width, height, frame_width, frame_height):
    fit = Fit(frame_width, frame_height)
    ratio = min(Fraction(frame_width, width), Fraction(frame_height, height))
    assume(1 <= ratio <= 16)
    made = result(fit, (width, height))
    assert made[0] <= frame_width
    assert made[1] <= frame_height
    assert made[0] == frame_width or made[1] == frame_height


@pytest.mark.parametrize(
    ("fit", "words"),
    [
        (Fit(width=99), "100×50 pixels to a width of 99 is a scale of 0.99"),
        (Fit(height=801), "to a height of 801 is a scale of 16"),
        (Fit(max_side=10), "to a longer side of 10 is a scale of 0.1"),
        (Fit(width=1000, height=49), "to 1000×49 is a scale of 0.98"),
    ],
)
def test_limits_of_scales_hold(fit, words):
    with pytest.raises(InputError) as caught:
        fit.scale(Size(50, 100))
    assert words in caught.value.message
    assert "from 1 to 16" in caught.value.hint


@pytest.mark.parametrize(
    "sides", [{}, {"width": 0}, {"max_side": 9, "width": 9}, {"max_side": 9, "height": 9}]
)
def test_contradictions(sides):
    with pytest.raises(UsageError):
        Fit(**sides)


def test_labels():
    fits = Fit(800), Fit(height=600), Fit(800, 600), Fit(max_side=1000)
    assert [fit.label for fit in fits] == ["800w", "600h", "800x600", "max1000"]
