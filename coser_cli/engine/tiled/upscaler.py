"""CoSeR for pictures of any size: every map lies on disk, every network gets tiles.

The stages are those of `Upscaler`, and so are the pixels where a picture fits one tile. Noise is
one field, the sampler steps the whole latents, and cognition, colour fix and the autoencoder's
statistics use the whole picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from coser_cli.engine import stages
from coser_cli.engine.color_fix import StreamedColorFix
from coser_cli.engine.compute.runtime import Runtime
from coser_cli.engine.passes import Pass, imagining, restoring
from coser_cli.engine.progress import Progress, silent, steps_of
from coser_cli.engine.reference import References, choose, similarity
from coser_cli.engine.settings_check import decodes, is_guided, require_conditions
from coser_cli.engine.tiled.autoencoder import TiledAutoencoder
from coser_cli.engine.tiled.cognition import local_cognition
from coser_cli.engine.tiled.denoisers import tiles_with_controls, tiles_without_controls
from coser_cli.engine.tiled.enlarging import enlarge, pre_restore
from coser_cli.engine.tiled.prediction import TilePrediction
from coser_cli.engine.tiled.reference import (
    ReducedReference,
    align,
    frame_to_imagine,
    noise_of_candidate,
)
from coser_cli.engine.tiled.results import Large, LargeLowRes
from coser_cli.engine.tiled.sampling import PredictTiles, TiledSampler, begin, jitter
from coser_cli.engine.tiled.vae import Tiling
from coser_cli.settings import ResolvedSettings, Settings, TileSpec
from coser_cli.size import Size, size_to_work_at, working_scale
from coser_cli.tiling.canvas import Map, Readable, Scratch, TensorMap
from coser_cli.tiling.derived import Combined, reduced
from coser_cli.tiling.grid import Grid, make_grid
from coser_cli.tiling.resample import resample_whole

if TYPE_CHECKING:
    from coser_cli.engine.cognition import Cognition
    from coser_cli.models.build import CoSeR

COGNITION_SIZE = Size(224, 224)
"""Size of the picture for cognition; its image tower would reduce a larger one anyway."""


class TiledUpscaler:
    """CoSeR for one large picture at a time, with the networks of a `Runtime`.

    `spec` says how pictures are cut, `scratch` holds what does not fit memory. `tile_batch` tiles
    are predicted at once, and `vae` says how the autoencoder is cut; neither changes the result
    (see `cost.cost_of`). Raises `UsageError` where the networks do not take such tiles.
    """

    def __init__(
        self,
        runtime: Runtime,
        spec: TileSpec,
        scratch: Scratch,
        *,
        tile_batch: int = 1,
        vae: Tiling | None = None,
        on_progress: Progress = silent,
    ) -> None:
        config = runtime.model.config
        self.runtime = runtime
        self.spec = spec
        self.scratch = scratch
        self._side = spec.tile_size
        self.tile, self.stride = spec.cells(config)
        self.notes: list[str] = []
        self._on_progress = on_progress
        self._restored: tuple[LargeLowRes, Readable] | None = None
        tiling = vae or Tiling(spec.tile_size)
        self._vae = TiledAutoencoder(runtime, tiling, scratch, self._note, on_progress)
        self._prediction = TilePrediction(runtime, tile_batch, self._note)

    @property
    def model(self) -> CoSeR:
        """The networks."""
        return self.runtime.model

    @torch.inference_mode()
    def upscale(
        self,
        pixels: Map,
        settings: Settings,
        *,
        want_reference: bool = False,
        references: Sequence[Map] = (),
        mask: Readable | None = None,
        conditions: Mapping[str, Map] | None = None,
    ) -> Large:
        """What `Upscaler.upscale` does, of pixels `(3, H, W)` in [0, 1]."""
        with self.runtime.computing():
            resolved, pictures = self.runtime.resolve(settings), (references, conditions or {})
            return self._upscale(pixels, resolved, want_reference, mask, *pictures)

    def _upscale(
        self,
        pixels: Map,
        settings: ResolvedSettings,
        want_reference: bool,
        mask: Readable | None,
        references: Sequence[Map],
        conditions: Mapping[str, Map],
    ) -> Large:
        require_conditions(self.model.config, conditions)
        low_res = replace(self.prepare(pixels, settings), mask=mask)
        if settings.strength:  # else they are not used
            encode = partial(self._vae.encode_placed, low_res=low_res)
            encoded = {name: encode(picture) for name, picture in conditions.items()}
            low_res = replace(low_res, conditions=encoded)
        latents, selected = None, References[Readable]()
        aligned: Sequence[Map] = ()
        if self.model.config.align_references and references:
            aligned, references = references, ()
            settings = replace(settings, reference_mode="none")
        guided = is_guided(settings, bool(references))
        imagines = want_reference and not aligned
        if settings.strength or imagines:
            cognition = self.understand(low_res, settings)
            if guided or imagines:
                selected = self.refer(low_res, cognition, settings, references)
            latents = self.restore(low_res, cognition, selected.latents if guided else (), settings)
        wanted = selected.latents if want_reference else ()
        pictures = tuple(self.decode_reference(each, low_res) for each in wanted)
        picture = self._decoded(latents, low_res, settings)
        if aligned:
            placed = [self._vae.placed(each, low_res) for each in aligned]
            how = settings, self.scratch, partial(self._similarity, low_res=low_res)
            picture, selected = align(placed, picture, low_res, *how)
        if want_reference and selected.picture is not None:
            pictures = (selected.picture,)
        result = low_res.finished(picture, settings.color_fix)
        return Large(result, pictures, selected.scores, selected.chosen, tuple(self.notes))

    @torch.inference_mode()
    def candidates(self, pixels: Map, settings: Settings) -> Large:
        """What `Upscaler.candidates` does, of pixels `(3, H, W)` in [0, 1]."""
        settings = self.runtime.resolve(settings)
        with self.runtime.computing():
            low_res = self.prepare(pixels, settings)
            cognition = self.understand(low_res, settings)
            imagined = self._imagine(low_res, cognition, settings)
            several = imagined if len(imagined) > 1 else ()
            scores = tuple(self._score(each, low_res) for each in several) or None
            pictures = tuple(self.decode_reference(each, low_res) for each in imagined)
        return Large(pictures[0], pictures, scores, None, tuple(self.notes))

    def prepare(self, pixels: Map, settings: ResolvedSettings) -> LargeLowRes:
        """Stage 1: enlarge and pad; encode when that is asked for."""
        config = self.model.config
        target = Size.of(pixels).scaled(settings.scale)
        size = size_to_work_at(config, Size.of(pixels), settings.scale)
        scale = working_scale(target, size, settings.scale)
        padded = self.scratch.canvas((3, *size.padded(config.pixel_multiple).hw))
        on_tile = partial(self._on_progress, "enlarge")
        pre_restored = enlarge(self.model, pixels, size, scale, padded, self.scratch, on_tile)
        encode = cache(partial(self._vae.encode, padded))
        if config.latents_of == "bicubic":
            encode = cache(partial(self._vae.encode_smooth, pixels, padded, size))
        return LargeLowRes(pixels, padded, size, target, encode, pre_restored)

    def understand(self, low_res: LargeLowRes, settings: ResolvedSettings) -> Cognition:
        """Stage 2: what the whole picture shows."""
        low_res.encode()  # before the autoencoder leaves
        picture = resample_whole(self._pre_restored(low_res), COGNITION_SIZE)
        cognition = stages.cognition_of(self.runtime, picture, settings)
        self._on_progress("understand", 1, 1)
        return cognition

    def refer(
        self,
        low_res: LargeLowRes,
        cognition: Cognition,
        settings: ResolvedSettings,
        pictures: Sequence[Map] = (),
    ) -> References[Readable]:
        """Stage 3: latents of the given references or of imagined ones: all, or the nearest."""
        if pictures:
            references = list[Readable](self._vae.encode_placed(each, low_res) for each in pictures)
        else:
            references = self._imagine(low_res, cognition, settings)

        def score_all(candidates: Sequence[Readable]) -> list[float]:
            return [self._score(each, low_res) for each in candidates]

        return choose(references, settings.reference_select, score_all)

    def restore(
        self,
        low_res: LargeLowRes,
        cognition: Cognition,
        references: Sequence[Readable],
        settings: ResolvedSettings,
    ) -> Map:
        """Stage 4: latents of the result."""
        if not settings.strength:
            return low_res.latents
        self.runtime.enter("sample")
        how = restoring(settings, self.model.config)

        def predict(runtime: Runtime) -> PredictTiles:
            own = cognition.to(runtime.dtype)
            hints = low_res.latents, references, low_res.conditions
            return tiles_with_controls(runtime.model, lambda tiles: own, how, *hints)

        grid = partial(self._grid, low_res.latents, settings.seed)
        draw = partial(noise_of_candidate, settings.seed, 0)
        return self._sample(how, low_res, draw, predict, grid)

    def decode(
        self, latents: Readable | None, low_res: LargeLowRes, settings: ResolvedSettings
    ) -> Readable:
        """Stage 5: pixels in [0, 1] of the unpadded size, made when asked for."""
        return low_res.finished(self._decoded(latents, low_res, settings), settings.color_fix)

    def _decoded(
        self, latents: Readable | None, low_res: LargeLowRes, settings: ResolvedSettings
    ) -> Readable:
        """The first part of stage 5: pixels of the padded size, not clamped."""
        config, picture = self.model.config, cast("Readable", low_res.padded)
        if decodes(settings, config):
            latents = low_res.latents if latents is None else latents
            if settings.strength and config.autoencoder.light is None:  # as in `decoding`
                latents = low_res.masked_latents(latents, config.downscale)
            picture = self._vae.decode(latents, low_res.padded, settings.fidelity)
        if config.one_step is not None and 0 < settings.strength < 1:
            plain: Readable = low_res.padded
            if config.plain_result == "decoded":
                plain = self._vae.decode(low_res.latents, low_res.padded, settings.fidelity)
            picture = Combined(partial(torch.lerp, weight=settings.strength), plain, picture)
        return picture

    def decode_reference(self, latents: Readable, low_res: LargeLowRes) -> Readable:
        """A reference as a picture: what the VAE alone makes of it."""
        if isinstance(latents, ReducedReference):
            small = stages.decode_reference(self.runtime, latents.latents, latents.low_res)
            return reduced(TensorMap(small), low_res.target)
        picture = self._vae.decode(cast("Map", latents), low_res.padded, None)
        fixed = StreamedColorFix("none", picture, low_res.padded, low_res.size)
        return reduced(fixed, low_res.target)

    def _imagine(
        self, low_res: LargeLowRes, cognition: Cognition, settings: ResolvedSettings
    ) -> list[Readable]:
        """Latents of `settings.references` pictures, each from noise of its own: imagined at once,
        for a frame that is reduced where it is large, or in tiles with cognition of their own.

        Without controls, tiles of a large picture would each show a scene of their own.
        """
        if not settings.reference_strength:
            return [low_res.latents] * settings.references
        if settings.reference_mode == "tile":
            return [*self._imagine_in_tiles(low_res, cognition, settings)]
        cells, side = Size.of(low_res.latents), max(self.model.config.native_size, self._side)
        tile = Size(min(cells.height, self.tile), min(cells.width, self.tile))
        small = frame_to_imagine(self.runtime, low_res, side, tile)
        steps = steps_of(self._on_progress, "imagine")
        latents = self.runtime.run(
            lambda one: stages.imagine(one, small, cognition.to(one.dtype), settings, on_step=steps)
        ).cpu()
        if small.size == low_res.size:
            return [TensorMap(each) for each in latents.split(1)]
        return [ReducedReference(each, small, cells) for each in latents.split(1)]

    def _imagine_in_tiles(
        self, low_res: LargeLowRes, cognition: Cognition, settings: ResolvedSettings
    ) -> list[Map]:
        tiles, pre_restored = self._grid(low_res.latents, None, 0), self._pre_restored(low_res)
        how_to_look = pre_restored, low_res.size, tiles, self.scratch
        steering = local_cognition(self.runtime, cognition, *how_to_look)
        self.runtime.enter("sample")
        how = imagining(settings, self.model.config)
        # tiles that are looked at one by one stay where they are
        grid = partial(self._grid, low_res.latents, None)

        def predict(runtime: Runtime) -> PredictTiles:
            own = lambda tiles: steering(tiles).to(runtime.dtype)  # noqa: E731
            return tiles_without_controls(runtime.model, own, how)

        different = settings.references if how.noised else 1
        draws = [partial(noise_of_candidate, settings.seed, k) for k in range(different)]
        sampled = (self._sample(how, low_res, draw, predict, grid) for draw in draws)
        imagined = [self._round_trip(latents, low_res) for latents in sampled]
        return imagined * (settings.references // different)

    def _sample(
        self,
        how: Pass,
        low_res: LargeLowRes,
        draw: Callable[[Map, str, int, range], Tensor],
        predict: Callable[[Runtime], PredictTiles],
        grid: Callable[[int], Grid],
    ) -> Map:
        """Sample from the low-resolution latents, noised as the pass begins."""
        state = self._vae.latents_of(low_res.padded)
        start_noise = partial(draw, state, "start", 0) if how.noised else None
        begin(state, low_res.latents, self.model.config.schedule, how.sampler.start, start_noise)
        noise_of, batch = partial(draw, state, how.stream), self._prediction.batch
        tiled = TiledSampler(how.sampler, noise_of, grid, batch, device=self.runtime.device)
        tiled(self._prediction.of(predict), state, partial(self._on_progress, how.stream))
        return state

    def _grid(self, latents: Map, seed: int | None, step: int) -> Grid:
        """Where the tiles of a step lie: moved by an offset of its own, where that is wanted."""
        offset = (0, 0)
        if self.spec.jitter and seed is not None:
            offset = jitter(seed, step, self.stride)
        return make_grid(Size.of(latents), self.tile, self.stride, offset)

    def _pre_restored(self, low_res: LargeLowRes) -> Readable:
        """The SRResNet's first pass, `(3, 4H, 4W)`."""
        if low_res.pre_restored is not None:
            return low_res.pre_restored
        if self._restored is None or self._restored[0] is not low_res:
            how = self.scratch, partial(self._on_progress, "enlarge")
            self._restored = low_res, pre_restore(self.model, low_res.pixels, *how)
        return self._restored[1]

    def _score(self, latents: Readable, low_res: LargeLowRes) -> float:
        """How near a reference is to the input, as cognition sees both."""
        return self._similarity(self.decode_reference(latents, low_res), low_res)

    def _similarity(self, picture: Readable, low_res: LargeLowRes) -> float:
        wanted = resample_whole(self._pre_restored(low_res), COGNITION_SIZE)
        return similarity(self.model, resample_whole(picture, COGNITION_SIZE), wanted)

    def _round_trip(self, latents: Map, low_res: LargeLowRes) -> Map:
        """The paper's reference is a picture before it is a condition (spec sec. 1)."""
        if not self.model.config.reference_roundtrip:
            return latents
        return self._vae.encode(self._vae.decode(latents, low_res.padded, None))

    def _note(self, words: str) -> None:
        if words not in self.notes:
            self.notes.append(words)
