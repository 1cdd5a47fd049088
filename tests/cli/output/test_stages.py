"""How far a picture is, over all its stages."""

from hypothesis import given
from hypothesis import strategies as st

from coser_cli.cli.output.stages import ALMOST, COSTS, STAGES, Gauge, expected_costs
from coser_cli.config import MINI, SD21
from coser_cli.settings import Settings


class Clock:
    """Time that goes on only where it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


EVENTS = st.lists(
    st.tuples(st.sampled_from(sorted(STAGES)), st.integers(0, 5), st.integers(1, 5)), max_size=30
)


@given(EVENTS)
def test_it_never_goes_back_and_is_never_full_while_work_goes_on(events):
    gauge, before = Gauge(clock=Clock()), 0.0
    for stage, done, total in events:
        fraction = gauge.update(stage, min(done, total), total)
        assert before <= fraction <= ALMOST < 1
        before = fraction


def test_a_picture_without_diffusion_has_no_stages_of_it():
    costs = expected_costs(Settings(strength=0.0).resolve(MINI))
    assert set(costs) == set(COSTS) - {"understand", "imagine", "restore"}


def test_steps_and_references_count():
    settings = Settings(steps=10, reference_steps=5, references=2, strength=0.5).resolve(SD21)
    costs = expected_costs(settings)
    assert costs["restore"] == 10 * COSTS["restore"]
    assert costs["imagine"] == 2 * 5 * COSTS["imagine"]
    assert "imagine" not in expected_costs(settings, imported=1)
    assert "restore" not in expected_costs(settings, reference_only=True)


def test_a_saved_reference_is_imagined_without_diffusion_of_the_result():
    settings = Settings(strength=0.0).resolve(MINI)
    assert {"understand", "imagine"} <= set(expected_costs(settings, saved=True))


def test_stages_weigh_what_they_took_in_the_picture_before():
    clock = Clock()
    gauge = Gauge({"prepare": 1.0, "decode": 1.0}, clock)
    clock.now = 1.0
    assert gauge.update("prepare", 1, 1) == 0.5
    clock.now = 10.0
    gauge.update("decode", 1, 1)
    gauge.begin()
    clock.now = 11.0
    assert gauge.update("prepare", 1, 1) == 0.1, "decoding took nine times as long"


def test_tiles_have_stages_of_their_own():
    gauge = Gauge({"prepare": 1.0, "enlarge": 1.0, "decode": 2.0}, Clock())
    assert gauge.update("enlarge", 1, 2) == 0.5 / 3
    assert (
        Gauge({"prepare": 2.0, "enlarge": 9.0, "decode": 2.0}, Clock()).update("prepare", 1, 1)
        == 0.5
    )
