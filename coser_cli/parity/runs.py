"""Parity of everything that is more than one network: schedule, colour fix and whole runs.

The engine's own stages do the work, with the recorded noise handed in. What the published code
does and the engine does not (truncation to uint8, the tiled script's grey reference, its window,
its padding and its splitting) is in this package and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from coser_cli.parity.load import MODULE_BAR, RUN_BAR, Case, GoldenSet, compare_outputs
from coser_cli.parity.networks import Networks
from coser_cli.parity.recorded import Run, WholeRun
from coser_cli.parity.tables import fixed_colors, schedule_tables
from coser_cli.parity.tiled import TiledRun


def run_cases(golden: GoldenSet) -> Iterator[Case]:
    """Compare `schedule`, `colorfix` and every recorded run of the set.

    An output that nothing here computes gets no case; the caller counts those as failed.
    """
    networks = Networks(golden)
    for name in golden.names:
        script = golden.sidecar(name).get("script")
        if name == "schedule":
            yield from compare_outputs(golden, name, schedule_tables(golden, name), MODULE_BAR)
        elif name == "colorfix":
            yield from compare_outputs(golden, name, fixed_colors(golden, name), MODULE_BAR)
        elif script is not None:
            kind: type[Run] = TiledRun if script.endswith("inference_tile.py") else WholeRun
            with torch.inference_mode():
                results = kind(golden, name, networks).results()
            yield from compare_outputs(golden, name, results, RUN_BAR)
