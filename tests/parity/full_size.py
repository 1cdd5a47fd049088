"""The full-size check: one forward pass of ControlNet and U-Net against recorded numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from coser_cli.models.unet import Controls
from coser_cli.parity.load import Case, compare


def full_size_cases(folder: Path, load: Callable[[str], Any]) -> list[Case]:
    """Every stored output, compared; `load(part)` gives "controlnet" and "unet", one at a time."""
    golden = load_file(folder / "full_64x64.safetensors")
    given = {k.removeprefix("inputs/"): v for k, v in golden.items() if k.startswith("inputs/")}
    x, time = given["x"], given["t"]
    context = torch.cat((given["prompt_emb"], given["lr_prompt_emb"]), dim=1)
    found = {}
    with torch.inference_mode():
        controlnet = load("controlnet")
        hints = torch.cat((given["lr_latent"], given["ref_latent"]))
        maps = controlnet(x, time, hints, controlnet.prepare_context([context]))
        del controlnet
        unet = load("unet")
        prepared = unet.prepare_context([context, given["prompt_emb"]])
        controls = Controls(tuple(m[:1] for m in maps), tuple(m[1:] for m in maps))
        found["full"], found["full_noprompt_neg77"] = unet(x, time, prepared, controls).chunk(2)
        found["gen"] = unet(x, time, unet.prepare_context([context]))
    for index, both in enumerate(maps):
        for kind, map_ in zip(("struct", "ref_struct"), both.chunk(2), strict=True):
            found[f"{kind}_{index:02d}_first16ch_stride4"] = map_[:, :16, ::4, ::4]
            found[f"{kind}_{index:02d}_first64ch"] = map_[:, :64]
    stored = {k.removeprefix("outputs/"): v for k, v in golden.items() if k.startswith("outputs/")}
    cases = [compare("full", name, found[name], value) for name, value in stored.items()]
    for case in sorted(cases, key=lambda case: case.error):
        print(f"{case.output:<36} {case.worst:.2e} {case.error:.2e}")
    return cases
