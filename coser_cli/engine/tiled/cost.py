"""What a large picture will take, known before anything runs: tiles, memory, disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from coser_cli.engine.compute.memory import PROCESS_BYTES, available_memory, gib
from coser_cli.engine.settings_check import is_guided
from coser_cli.engine.tiled import vae as tiled_vae
from coser_cli.engine.tiled.enlarging import scratch_bytes
from coser_cli.engine.tiled.reference import frame_size
from coser_cli.errors import UsageError
from coser_cli.sampling.schedulers import start_timestep
from coser_cli.settings import ResolvedSettings, TileSpec
from coser_cli.size import Size, size_to_work_at, working_scale
from coser_cli.tiling.grid import Grid, make_grid

if TYPE_CHECKING:
    from coser_cli.config import ModelConfig
    from coser_cli.engine.compute.runtime import Runtime
    from coser_cli.models.build import CoSeR

MAPS_PER_BRANCH = 24
"""Maps of the U-Net's widest level at its peak, per guidance branch (measured with `mini`: 23)."""
ENLARGING_BYTES = 160 * 2**20
"""Tiles in the SRResNet; their size is fixed."""
INPUT_BYTES = 4 * 3 * 2
"""Per pixel of the input: decoded, and as float32."""
BATCHES = (8, 4, 2, 1)
"""Tiles at once, tried in this order without an explicit number; one keeps a CPU busy."""
SMALLEST_VAE_TILE = 64
VAE_MARGIN = 2.6
"""What a CPU's convolutions and allocator take beyond the tensors that a plan counts (measured:
24 Mpx with `mini`, 0.9 GB for 0.35 GB counted)."""


@dataclass(frozen=True)
class Diffusion:
    """How often the networks run: steps of each reference and of the result, tiles per step, and
    evaluations, counting tiles. References are imagined at once, as `reference_tiles` tiles' worth,
    or in tiles.
    """

    references: int
    reference_steps: int
    steps: int
    tiles: int
    tile_batch: int
    reference_tiles: int = 1

    @property
    def batches(self) -> int:
        """Calls of the U-Net per step."""
        return -(-self.tiles // self.tile_batch)

    @property
    def unet(self) -> int:
        """Evaluations of the U-Net (both guidance branches are one)."""
        imagined = self.reference_tiles * self.references * self.reference_steps
        return imagined + self.tiles * self.steps

    @property
    def controlnet(self) -> int:
        """Evaluations of the ControlNet (all hints are one)."""
        return self.tiles * self.steps


@dataclass(frozen=True)
class Cost:
    """`size` of the result, and `padded` as the networks work at it, in pixels; `memory` and `disk`
    in bytes at the peak; `vae_tiles` are those of encoder and decoder together.
    """

    size: Size
    padded: Size
    diffusion: Diffusion
    vae: tiled_vae.Tiling
    vae_tiles: int
    memory: int
    disk: int


@dataclass(frozen=True)
class Task:
    """One large picture: `size` of the input, settings, how to cut it, the number of `imported`
    references, and whether references are written.
    """

    size: Size
    settings: ResolvedSettings
    spec: TileSpec
    imported: int = 0
    want_reference: bool = False
    conditions: int = 0

    def target(self) -> Size:
        """Size of the result."""
        return self.size.scaled(self.settings.scale)

    @property
    def samples(self) -> bool:
        """Whether diffusion runs."""
        return self.settings.strength != 0 or self.want_reference

    @property
    def encoded_conditions(self) -> int:
        """Further conditions that the networks see: none without diffusion of the result."""
        return self.conditions if self.settings.strength else 0

    @property
    def references(self) -> int:
        """How many references are imagined or imported."""
        wanted = is_guided(self.settings, bool(self.imported)) or self.want_reference
        return (self.imported or self.settings.references) * wanted


def cost_in_tiles(runtime: Runtime, task: Task) -> Cost:
    """What a task takes in tiles, here and now. Raises `UsageError`; see `cost_of`."""
    free, weights = available_memory(runtime.device), runtime.pending(task.settings)
    return cost_of(runtime.model, task, weights, free, runtime.device.type == "cpu")


def cost_at_once(runtime: Runtime, task: Task) -> Cost:
    """What a task takes at once."""
    memory = runtime.needed_memory(task.size, task.settings)
    return whole_cost(runtime.model.config, task, memory)


def cost_of(model: CoSeR, task: Task, weights: int, available: int | None, cpu: bool) -> Cost:
    """The cost of a task with a model, which may lie on the meta device.

    `weights` and `available` are bytes. Of the ways to cut, the largest is chosen that fits
    `spec.max_memory` or, without that, the available memory. Raises `UsageError` where even the
    smallest does not fit `spec.max_memory`, or where the networks do not take such tiles.
    """
    config, spec = model.config, task.spec
    padded = _padded(config, task)
    grid = _grid(config, padded, spec)
    fixed = PROCESS_BYTES + weights + task.size.area * INPUT_BYTES
    budget = None if (limit := spec.max_memory or available) is None else limit - fixed

    batch = 1
    if task.samples:
        batches = (spec.tile_batch,) if spec.tile_batch else BATCHES[-1:] if cpu else BATCHES
        batch = _largest(batches, lambda each: sampling_bytes(config, grid, each, task), budget)
    vae = _largest(list(_vae_tilings(spec)), lambda each: _vae_bytes(model, padded, each), budget)
    at_once = max(batch, _reference_tiles(config, task, grid))
    sampling = sampling_bytes(config, grid, at_once, task) if task.samples else 0
    enlarging = ENLARGING_BYTES if config.pass_memory is None else config.pass_memory
    memory = fixed + max(sampling, _vae_bytes(model, padded, vae), enlarging)
    if spec.max_memory and memory > spec.max_memory:
        raise UsageError(
            f"--max-memory {gib(spec.max_memory)} GiB is less than the {gib(memory)} GiB that the "
            "smallest plan needs",
            "give more, smaller tiles with --tile-size, or --low-memory",
        )
    passes = _vae_passes(model, padded, vae)
    vae_tiles = sum(one.plan.tile_count for one in passes)
    vae_tiles += task.encoded_conditions * passes[0].plan.tile_count
    steps = _steps(config, task)
    return Cost(
        task.target(),
        padded,
        Diffusion(
            task.references,
            *steps,
            len(grid) if task.samples else 0,
            batch,
            _reference_tiles(config, task, grid),
        ),
        vae,
        vae_tiles,
        memory,
        _disk(config, task, padded) + max(one.plan.scratch_bytes for one in passes),
    )


def whole_cost(config: ModelConfig, task: Task, memory: int) -> Cost:
    """The cost of a task that is done at once, with `memory` bytes besides the process's own."""
    padded = _padded(config, task)
    tiles = 1 if task.samples else 0
    diffusion = Diffusion(task.references, *_steps(config, task), tiles, 1)
    memory += PROCESS_BYTES
    tiling = tiled_vae.Tiling(padded.long_side)
    return Cost(task.target(), padded, diffusion, tiling, 2, memory, 0)


def sampling_bytes(config: ModelConfig, grid: Grid, batch: int, task: Task) -> int:
    """Estimated peak of predicting `batch` tiles, weights not counted: all networks compute in
    float32 at most.
    """
    settings = task.settings
    branches = 1 + (settings.guidance_scale != 1 or settings.reference_guidance_scale != 1)
    # each further reference or condition is one more hint
    hints = max(0, settings.references - 1) + task.encoded_conditions
    maps = MAPS_PER_BRANCH * branches + MAPS_PER_BRANCH * hints // 2
    return batch * grid.tile_size.area * config.unet.block_out_channels[0] * maps * 4


Choice = TypeVar("Choice")


def _reference_tiles(config: ModelConfig, task: Task, grid: Grid) -> int:
    """Tiles' worth of cells that a reference is imagined for in one evaluation or several."""
    if task.imported or not task.references:
        return 0
    if task.settings.reference_mode == "tile":
        return len(grid)
    side = max(config.native_size, task.spec.tile_size)
    frame = frame_size(size_to_work_at(config, task.size, task.settings.scale), side)
    tile = grid.tile_size.area * config.downscale**2
    return max(1, -(-frame.area // tile))


def _largest(
    choices: Sequence[Choice], needs: Callable[[Choice], int], budget: int | None
) -> Choice:
    """The first choice that fits, or the last."""
    fitting = (each for each in choices if budget is None or needs(each) <= budget)
    return next(fitting, choices[-1])


def _padded(config: ModelConfig, task: Task) -> Size:
    """Size that the networks work at."""
    return size_to_work_at(config, task.size, task.settings.scale).padded(config.pixel_multiple)


def _grid(config: ModelConfig, padded: Size, spec: TileSpec) -> Grid:
    tile, stride = spec.cells(config)
    return make_grid(padded // config.downscale, tile, stride)


def _vae_tilings(spec: TileSpec) -> Iterator[tiled_vae.Tiling]:
    """From the sampler's tile size down; tiles of the autoencoder give the same result."""
    side = max(spec.tile_size, SMALLEST_VAE_TILE)
    while side >= SMALLEST_VAE_TILE:
        yield tiled_vae.Tiling(side)
        side //= 2


def _vae_passes(
    model: CoSeR, padded: Size, tiling: tiled_vae.Tiling
) -> tuple[tiled_vae.TiledPass, tiled_vae.TiledPass]:
    return (
        tiled_vae.encoding(model, padded, tiling),
        tiled_vae.decoding(model, padded, tiling, fidelity=1.0),
    )


def _vae_bytes(model: CoSeR, padded: Size, tiling: tiled_vae.Tiling) -> int:
    bytes_counted = max(each.plan.memory_bytes for each in _vae_passes(model, padded, tiling))
    return round(bytes_counted * VAE_MARGIN)


def _steps(config: ModelConfig, task: Task) -> tuple[int, int]:
    """Steps of a reference and of the result."""
    settings = task.settings
    imagined = settings.reference_strength if task.references and not task.imported else 0
    return (
        _count(config, settings.reference_steps, imagined),
        _count(config, settings.steps, settings.strength),
    )


def _count(config: ModelConfig, steps: int, strength: float) -> int:
    """Steps of one pass: fewer than asked for where the schedule has no more."""
    return min(steps, start_timestep(config.schedule, strength) + 1) if strength else 0


def _disk(config: ModelConfig, task: Task, padded: Size) -> int:
    """Bytes of the maps that lie on disk beside those of the autoencoder's passes."""
    picture = 3 * 4 * padded.area
    latents = config.autoencoder.latent_channels * 4 * padded.area // config.downscale**2
    target = task.target()
    work = size_to_work_at(config, task.size, task.settings.scale)
    scale = working_scale(target, work, task.settings.scale)
    by_network = config.low_res_source == "srresnet"
    enlarged = scratch_bytes(task.size, scale if by_network else 4, config.pass_scale)
    pictures = 2 + (task.references if task.want_reference or task.imported else 0)
    pictures += config.latents_of == "bicubic" and task.samples
    pictures += config.one_step is not None and task.settings.strength not in (0, 1)  # two results
    pictures += task.encoded_conditions
    maps = 1 + (task.settings.strength != 0) + task.references + task.encoded_conditions
    return pictures * picture + maps * latents + enlarged
