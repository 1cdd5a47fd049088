"""The options about model and device, as groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from coser_cli.cli.options import common as options
from coser_cli.settings import Compute

ComputeOptions = Annotated[
    Compute,
    {
        "model": options.Model,
        "device": options.Device,
        "dtype": options.Dtype,
        "offload": options.Offload,
        "low_memory": options.LowMemory,
        "compile": options.Compile,
        "pre_restorer": options.PreRestorer,
    },
]


@dataclass(frozen=True)
class ModelOptions:
    """Which model computes, and where; for commands that only measure."""

    model: options.Model = "auto"
    device: options.Device = "auto"
    dtype: options.Dtype = "auto"
