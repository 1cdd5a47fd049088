"""A command run as a process of its own, with its time and its memory as the kernel counts it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

EVERY_SECONDS = 0.05
FIELDS = ("VmRSS", "RssAnon", "RssFile")


@dataclass
class Measured:
    """Seconds; and peaks in bytes: `VmRSS` all resident memory, `RssAnon` what belongs to the
    process alone, `RssFile` pages of mapped files, which the system can take back at any time.
    """

    code: int = 0
    out: str = ""
    err: str = ""
    seconds: float = 0.0
    peaks: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FIELDS, 0))

    def __str__(self) -> str:
        peaks = ", ".join(f"{name} {peak / 1e9:.2f} GB" for name, peak in self.peaks.items())
        return f"{self.seconds:.1f} s, {peaks}"


def measure(
    args: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Measured:
    """Run `python *args` to its end and watch it (Linux)."""
    found = Measured()
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *args],
        env=env,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            lines = status.read_text().splitlines()
        except OSError:
            break
        for line in lines:
            name, _, rest = line.partition(":")
            if name in found.peaks:
                found.peaks[name] = max(found.peaks[name], int(rest.split()[0]) * 1024)
        time.sleep(EVERY_SECONDS)
    found.out, found.err = process.communicate()
    found.code, found.seconds = process.returncode, time.monotonic() - started
    return found
