"""How much memory processes hold."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path


def resident_memory(processes: Iterable[int]) -> int:
    """Bytes of memory that these processes hold together; those that are gone hold none.

    What they share (mapped weights, libraries) counts once for each.
    """
    return sum(map(_resident, processes))


def _resident(process: int) -> int:
    statistics = Path(f"/proc/{process}/statm")  # proc(5): pages; the second is resident
    try:
        return int(statistics.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        if Path("/proc/self/statm").exists():
            return 0
    ps = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(process)], capture_output=True, text=True, check=False
    )
    return int(ps.stdout.strip() or 0) * 1024
