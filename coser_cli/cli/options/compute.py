"""The options about model and device, as one group."""

from __future__ import annotations

from dataclasses import dataclass

from coser_cli.cli.options import common as options


@dataclass(frozen=True)
class Compute:
    """The values of the options about model and device."""

    model: options.Model = "auto"
    device: options.Device = "auto"
    dtype: options.Dtype = "auto"
    offload: options.Offload = "auto"
    low_memory: options.LowMemory = False
    compile: options.Compile = False
    cuda_graphs: options.CudaGraphs = False
