"""Measures quality against evaluations of the networks, setting by setting, over a `Grid`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from coser_cli.engine.compute.runtime import Runtime
from coser_cli.engine.preparation import LowRes
from coser_cli.engine.upscaler import Upscaler
from coser_cli.evaluation.crops import Crops
from coser_cli.evaluation.metrics import METRICS
from coser_cli.evaluation.noise import BETTER, Comparison, compare
from coser_cli.evaluation.row_store import Row, RowStore, Subject
from coser_cli.evaluation.settings_grid import Grid, evaluations
from coser_cli.sampling.noise import seeded_noise
from coser_cli.settings import ResolvedSettings
from coser_cli.size import Size
from coser_cli.weights.lock import fingerprint
from coser_cli.weights.store import model_folder

SEED_STEP = 10**6
"""Between the seeds of neighbouring pictures: more than the seeds of a measurement."""
OnProgress = Callable[[ResolvedSettings, int, int], None]
"""Called with the settings measured next, how many are done, and how many there are."""


def subject_of(model: str | Path, upscaler: Upscaler, crops: Crops) -> Subject:
    """What is measured, for telling rows apart. Raises `WeightsError`."""
    folder = model_folder(model)
    dtype = str(upscaler.dtype).removeprefix("torch.")
    return Subject(folder.name, fingerprint(folder), crops.digest(), upscaler.device.type, dtype)


def measure_grid(
    upscaler: Upscaler, crops: Crops, grid: Grid, store: RowStore, on_progress: OnProgress
) -> Comparison:
    """Everything of the grid that the store lacks.

    What then is the best has had luck among many: it is measured with the other seeds as well, and
    so is the next one, until one stays within noise. Raises `DeviceError`.
    """
    config = upscaler.model.config
    runs = grid.runs(config)
    pending = [each for each in runs if each not in store.rows]
    if pending:
        # the first picture brings weights and warms caches up: it is not timed
        upscaler.upscale(crops.low[:1], replace(pending[-1], steps=1, reference_steps=1))
    while pending or (pending := _unconfirmed(compare(grid, store.rows, config), grid, store)):
        runs += [each for each in pending if each not in runs]
        for index, settings in enumerate(pending):
            on_progress(settings, len(runs) - len(pending) + index, len(runs))
            store.add(measure_row(upscaler, crops, settings))
        pending = []
    return compare(grid, store.rows, config)


def measure_row(upscaler: Upscaler, crops: Crops, settings: ResolvedSettings) -> Row:
    """One setting, complete, on all patches: as many at once as the device does best."""
    batch = upscaler.runtime.batch_limit(Size.of(crops.low), settings)
    began = time.perf_counter()
    parts = zip(crops.low.split(batch), torch.arange(len(crops)).split(batch), strict=True)
    results = torch.cat([_enlarged(upscaler, low, indices, settings) for low, indices in parts])
    seconds = (time.perf_counter() - began) / len(crops)
    results = (results.clamp(0, 1) * 255).round() / 255  # as a file would be
    metrics = {
        name: tuple(
            METRICS[name].measure(result, target)
            for result, target in zip(results.split(1), crops.high.split(1), strict=True)
        )
        for name in BETTER
    }
    return Row(settings, metrics, evaluations(settings, upscaler.model.config), seconds)


def _enlarged(
    upscaler: Upscaler, low: Tensor, indices: Tensor, settings: ResolvedSettings
) -> Tensor:
    """Patches `(B, 3, h, w)` enlarged together, each from noise of its own: a random
    deviation that all share would not show in their standard deviation. Raises `DeviceError`.
    """
    if not settings.strength:
        return upscaler.upscale(low, settings).pixels
    seeds = [settings.seed + SEED_STEP * index for index in indices.tolist()]

    def draw(prepared: LowRes, stream: str, step: int) -> Tensor:
        shape = 1, *prepared.latents.shape[1:]
        return torch.cat([seeded_noise(seed, shape)(stream, step) for seed in seeds])

    def run(runtime: Runtime) -> Tensor:
        upscaler = Upscaler(runtime)
        prepared = upscaler.prepare(low, settings)
        cognition = upscaler.understand(prepared, settings)
        reference = upscaler.imagine(prepared, cognition, settings, draw=partial(draw, prepared))
        latents = upscaler.restore(
            prepared, cognition, reference, settings, draw=partial(draw, prepared)
        )
        return upscaler.decode(latents, prepared, settings)

    return upscaler.runtime.run(run)


def _unconfirmed(comparison: Comparison, grid: Grid, store: RowStore) -> list[ResolvedSettings]:
    """The other seeds of the best setting."""
    if comparison.best is None:
        return []
    seeds = grid.with_seeds(comparison.best.settings)
    return [each for each in seeds if each not in store.rows]
