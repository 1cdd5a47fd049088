"""Several references: candidates, pictures of the user, fusion and selection."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from coser_cli.engine.reference import draw_of, encode, nearest, place, score
from coser_cli.engine.upscaler import Upscaler
from coser_cli.errors import InputError
from coser_cli.sampling.noise import seeded_noise
from coser_cli.settings import MAX_REFERENCES, Settings
from coser_cli.size import Size

QUICK = Settings(scale=2, steps=2, sampler="ddpm", strength=0.8)
SIDES = st.integers(1, 60)


def photo(height: int = 12, width: int = 10, seed: int = 1) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def stages(upscaler: Upscaler):
    """The low-resolution picture and its cognition."""
    low_res = upscaler.prepare(photo(), QUICK)
    return low_res, upscaler.understand(low_res, QUICK)


def imagined(upscaler: Upscaler, stages, count: int, **fields) -> torch.Tensor:
    return upscaler.imagine(*stages, replace(QUICK, references=count, **fields))


def test_the_first_candidate_is_the_single_reference(upscaler: Upscaler, stages):
    one, four = (imagined(upscaler, stages, count) for count in (1, 4))
    assert four.shape == (4, *one.shape[1:])
    assert torch.equal(four[:1], one)
    for index in range(1, 4):
        assert not torch.allclose(four[index], four[0], atol=1e-2)


def test_a_candidate_depends_on_its_number_alone(upscaler: Upscaler, stages):
    assert torch.equal(imagined(upscaler, stages, 2), imagined(upscaler, stages, 3)[:2])


def test_candidates_draw_from_streams_of_their_own(upscaler: Upscaler, stages):
    asked = []

    def draw(stream: str, step: int) -> torch.Tensor:
        asked.append((stream, step))
        return torch.zeros_like(stages[0].latents)

    settings = replace(QUICK, references=3)
    reference = upscaler.imagine(*stages, settings, draw=draw)
    upscaler.restore(*stages, reference, settings, draw=draw)
    starts = [stream for stream, _ in asked if stream.startswith("start")]
    assert starts == ["start", "start/1", "start/2", "start"], "restored from the first's noise"
    walks = {stream for stream, _ in asked} - set(starts)
    assert walks == {"imagine", "imagine/1", "imagine/2", "restore"}


def test_streams_of_candidates_are_independent():
    draw = seeded_noise(1, (1, 4, 32, 32))
    noises = [draw_of(index, draw)("imagine", 0).flatten() for index in range(3)]
    assert torch.equal(noises[0], draw("imagine", 0).flatten())
    assert torch.corrcoef(torch.stack(noises)).fill_diagonal_(0).abs().max() < 0.1


def test_without_noise_every_candidate_is_the_input(upscaler: Upscaler, stages):
    found = imagined(upscaler, stages, 3, reference_strength=0.0)
    assert torch.equal(found, stages[0].latents.repeat(3, 1, 1, 1))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_copies_of_a_reference_change_nothing(upscaler: Upscaler, stages, count):
    reference = imagined(upscaler, stages, 1)
    one = upscaler.restore(*stages, reference, QUICK)
    several = upscaler.restore(*stages, reference.repeat(count, 1, 1, 1), QUICK)
    torch.testing.assert_close(several, one, atol=1e-5, rtol=0)


def test_two_references_are_more_than_either(upscaler: Upscaler, stages):
    both = imagined(upscaler, stages, 2)
    first, second, fused = (
        upscaler.restore(*stages, reference, QUICK) for reference in (both[:1], both[1:], both)
    )
    for alone in (first, second):
        assert not torch.allclose(fused, alone, atol=1e-3)


def test_the_order_of_references_does_not_matter(upscaler: Upscaler, stages):
    both = imagined(upscaler, stages, 2)
    one, other = (upscaler.restore(*stages, each, QUICK) for each in (both, both.flip(0)))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_further_references_pass_the_controlnet_two_at_a_time(make_toy, monkeypatch):
    upscaler = make_toy().upscaler
    sizes = []
    forward = upscaler.model.controlnet.forward
    monkeypatch.setattr(
        upscaler.model.controlnet,
        "forward",
        lambda *args: (sizes.append(args[2].shape[0]), forward(*args))[1],
    )
    upscaler.upscale(photo(), replace(QUICK, steps=1, references=4))
    assert sizes == [2, 2, 1]


def test_progress_counts_the_steps_of_all_candidates(upscaler: Upscaler):
    told = []
    upscaler.upscale(
        photo(), replace(QUICK, references=3), on_progress=lambda *step: told.append(step)
    )
    steps = [step[1:] for step in told if step[0] == "imagine"]
    assert steps == [(done, 6) for done in range(1, 7)]


@given(SIDES, SIDES, SIDES, SIDES)
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_placed_picture_fills_the_frame(height, width, rows, columns):
    placed = place(torch.full((1, 3, height, width), 0.25), Size(rows, columns))
    assert placed.shape == (1, 3, rows, columns)
    torch.testing.assert_close(placed, torch.full_like(placed, 0.25), atol=1e-6, rtol=0)


def coordinates(height: int, width: int) -> torch.Tensor:
    """A picture that says where it is: column in red, row in green, as shares of the sides."""
    column = (torch.arange(width) + 0.5) / width
    row = (torch.arange(height) + 0.5) / height
    red, green = column.expand(height, width), row[:, None].expand(height, width)
    return torch.stack((red, green, torch.zeros(height, width)))[None]


@pytest.mark.parametrize(
    ("source", "frame", "red", "green"),
    [
        ((40, 60), (80, 120), (0, 1), (0, 1)),  # the same aspect ratio
        ((100, 101), (50, 50), (0, 1), (0, 1)),  # within 2 %: squeezed, not cut
        ((40, 80), (80, 80), (0.25, 0.75), (0, 1)),  # too wide
        ((80, 40), (20, 20), (0, 1), (0.25, 0.75)),  # too high, and shrunk
        ((32, 32), (60, 120), (0, 1), (0.25, 0.75)),  # too high, and enlarged
    ],
)
def test_what_of_a_picture_is_placed(source, frame, red, green):
    placed = place(coordinates(*source), Size(*frame))[0]
    edge = 2 / min(source)
    for channel, dim, (low, high) in ((0, 1, red), (1, 0, green)):
        line = placed[channel].mean(1 - dim)
        assert abs(line[0] - low) < edge
        assert abs(line[-1] - high) < edge
        torch.testing.assert_close(line.mean().item(), (low + high) / 2, atol=0.01, rtol=0)


def test_shrinking_is_antialiased():
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::2] = 1
    placed = place(stripes, Size(16, 16))
    torch.testing.assert_close(
        placed[..., 2:-2], torch.full((1, 3, 16, 12), 0.5), atol=1e-3, rtol=0
    )


def test_imported_references_have_the_shape_of_the_input(upscaler: Upscaler):
    low_res = upscaler.prepare(photo(11, 7), QUICK)  # padded
    pictures = [photo(9, 30), photo(200, 90), photo(1, 1)]
    latents = upscaler.import_references(pictures, low_res)
    assert latents.shape == (3, *low_res.latents.shape[1:])
    assert latents.dtype == torch.float32


def test_the_enlarged_input_as_reference_gives_its_latents(upscaler: Upscaler, stages):
    low_res, _ = stages
    latents = encode(upscaler.model, [low_res.enlarged], low_res)
    torch.testing.assert_close(latents, low_res.latents, atol=1e-5, rtol=0)


@pytest.mark.parametrize("picture", [photo()[0, 0], photo() * 3, photo() * float("nan")])
def test_what_is_no_picture_is_no_reference(upscaler: Upscaler, picture):
    with pytest.raises(InputError):
        upscaler.upscale(photo(), QUICK, references=[picture])


def test_a_given_reference_replaces_imagination(upscaler: Upscaler):
    given, told = photo(30, 25, seed=5), []
    result = upscaler.upscale(
        photo(), QUICK, references=[given], on_progress=lambda *step: told.append(step[0])
    )
    low_res = upscaler.prepare(photo(), QUICK)
    latents = upscaler.import_references([given], low_res)
    cognition = upscaler.understand(low_res, QUICK)
    restored = upscaler.restore(low_res, cognition, latents, QUICK)
    assert torch.equal(result.pixels, upscaler.decode(restored, low_res, QUICK))
    assert "imagine" not in told
    assert not torch.equal(result.pixels, upscaler.upscale(photo(), QUICK).pixels)


def test_without_diffusion_a_given_reference_changes_nothing(make_toy):
    toy = make_toy()
    settings = replace(QUICK, strength=0.0)
    given = toy.upscaler.upscale(photo(), settings, references=[photo(5, 5)])
    assert torch.equal(given.pixels, toy.upscaler.upscale(photo(), settings).pixels)
    assert not {"unet", "controlnet", "cognitive_encoder"} & set(toy.made)


@pytest.mark.parametrize("source", ["bicubic", "srresnet"])
def test_scores_are_cosines_of_class_tokens(make_toy, source):
    upscaler = make_toy(low_res_source=source).upscaler
    low_res = upscaler.prepare(photo(), QUICK)
    model = upscaler.model
    pre_restored = model.srresnet(photo())
    pictures = torch.cat([pre_restored, photo(24, 20, seed=2).new_zeros(1, 3, 48, 40)])
    same, other = score(model, pictures, low_res)
    assert same == pytest.approx(1, abs=1e-5)
    tokens = [model.cognition.clip(each)[0, 0] for each in pictures.split(1)]
    assert other == pytest.approx(torch.cosine_similarity(*tokens, dim=0).item(), abs=1e-5)
    assert -1 <= other < same


def test_nearest_is_the_first_of_the_best():
    assert nearest([0.1, 0.9, 0.9]) == 1
    assert nearest([-0.5]) == 0


def test_clip_keeps_the_nearest_candidate(upscaler: Upscaler, stages):
    settings = replace(QUICK, references=3, reference_select="clip")
    result = upscaler.upscale(photo(), settings, want_reference=True)
    candidates = upscaler.candidates(photo(), settings)
    assert result.scores == pytest.approx(candidates.scores, abs=1e-6)
    assert result.chosen == nearest(candidates.scores)
    assert result.reference.shape == (1, 3, 24, 20)
    chosen = candidates.pictures[result.chosen]
    assert torch.equal(result.reference[0], chosen)
    assert torch.equal(upscaler.reference(photo(), settings), result.reference)
    latents = imagined(upscaler, stages, 3)[result.chosen][None]
    restored = upscaler.restore(*stages, latents, settings)
    assert torch.equal(result.pixels, upscaler.decode(restored, stages[0], settings))


def test_clip_chooses_among_given_pictures(upscaler: Upscaler):
    settings = replace(QUICK, reference_select="clip")
    low_res = upscaler.prepare(photo(), settings)
    strangers = [photo(24, 20, seed=seed) for seed in (7, 8)]
    given = [strangers[0], low_res.enlarged.clone(), strangers[1]]
    result = upscaler.upscale(photo(), settings, references=given)
    assert len(result.scores) == 3
    assert result.chosen == nearest(result.scores)


def test_all_are_wanted_and_not_compared(upscaler: Upscaler):
    result = upscaler.upscale(photo(), replace(QUICK, references=2), want_reference=True)
    assert result.reference.shape == (2, 3, 24, 20)
    assert result.scores is None
    assert result.chosen is None
    single = upscaler.reference(photo(), QUICK)
    assert torch.equal(result.reference[:1], single)


def test_a_single_candidate_has_no_score(upscaler: Upscaler):
    assert upscaler.candidates(photo(), QUICK).scores is None
    result = upscaler.upscale(photo(), replace(QUICK, reference_select="clip"))
    assert result.scores is None


def test_as_many_as_may_be(upscaler: Upscaler):
    settings = replace(QUICK, steps=1, references=MAX_REFERENCES)
    found = upscaler.candidates(photo(), settings)
    assert found.pictures.shape[0] == len(found.scores) == MAX_REFERENCES
