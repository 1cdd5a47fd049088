"""What a run tells of itself: a bar, `log.jsonl`, sample pictures, and TensorBoard if wanted."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from coser_cli.errors import UsageError

LOG = "log.jsonl"


class Progress:
    """Of the main process alone: others make none.

    It says where it begins, and how many processes there are: some launchers start fewer than
    asked. Lines of the log behind `first_step` are of a run that was interrupted: they are taken
    out, as these steps are done again.
    """

    def __init__(
        self, folder: Path, first_step: int, steps: int, processes: str, *, tensorboard: bool
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        words = f"{folder.name}: from step {first_step} of {steps}, {processes}"
        print(words, file=sys.stderr)  # noqa: T201
        self._forget_behind(first_step)
        self.bar = tqdm(
            total=steps,
            initial=first_step,
            desc=folder.name,
            unit="step",
            mininterval=1,
            disable=None,  # where stderr is no terminal
        )
        self.writer = _writer(folder) if tensorboard else None

    def _forget_behind(self, step: int) -> None:
        log = self.folder / LOG
        if not log.is_file():
            return
        lines = log.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step_of(line) <= step]
        if kept != lines:
            part = log.with_name(f"{LOG}.part")
            part.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
            part.replace(log)

    def record(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """A line of the log, and the same elsewhere."""
        row = {name: float(f"{value:.6g}") for name, value in values.items()}
        line = json.dumps({"step": step, "seconds": round(seconds, 1), **row})
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")
        self.bar.set_postfix(row)
        if self.bar.disable:
            print(f"{self.folder.name} {line}", file=sys.stderr)  # noqa: T201
        for name, value in row.items() if self.writer else ():
            self.writer.add_scalar(name, value, step)  # type: ignore[union-attr]

    def pictures(self, step: int, columns: Mapping[str, Tensor]) -> None:
        """`samples/STEP.png`: a row per example, a column per kind of picture `(B, 3, H, W)`."""
        parts = [picture.float().clamp(0, 1).cpu() for picture in columns.values()]
        height = max(part.shape[2] for part in parts)
        parts = [torch.nn.functional.interpolate(part, height) for part in parts]
        sheet = torch.cat([torch.cat(list(part), dim=1) for part in parts], dim=2)
        levels = (sheet * 255).round().byte().permute(1, 2, 0).numpy()
        folder = self.folder / "samples"
        folder.mkdir(exist_ok=True)
        Image.fromarray(levels).save(folder / f"{step:07d}.png")
        if self.writer:
            self.writer.add_image(" | ".join(columns), sheet, step)

    def close(self) -> None:
        """The end of the run, for better or worse."""
        self.bar.close()
        if self.writer:
            self.writer.close()


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # a line that was cut short
        return sys.maxsize


def _writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("TensorBoard is not installed", "pip install tensorboard") from error
    return SummaryWriter(str(folder / "tensorboard"))
