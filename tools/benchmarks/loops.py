"""What a shell loop costs cold, served, and as one command: `loops.py FOLDER [ROUNDS]`.

Each round does one picture of FOLDER by itself, one served, and in the end all of them are
done in one command. Wall and processor time (user + system, of the server's processes too) per
picture, so that a busy machine can be told from a slow program. Linux; needs `coser` on the PATH.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def used_by(processes: list[int]) -> float:
    """Seconds of the processor that these have used: proc(5), fields 14 and 15."""
    ticks = 0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def served_processes() -> list[int]:
    """The server and what it has loaded."""
    ran = subprocess.run(["coser", "serve", "status", "--json"], capture_output=True, check=True)
    state = json.loads(ran.stdout)
    return [state["process"], *(each["process"] for each in state["models"] if each["process"])]


def run(words: list[str], processes: list[int]) -> tuple[float, float, float]:
    """Seconds of the whole command, of the processor, and of the pictures alone, as it says."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    theirs, began = used_by(processes), time.monotonic()
    ran = subprocess.run(["coser", "upscale", *words, "--json"], capture_output=True, check=True)
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    lines = map(json.loads, ran.stdout.splitlines())
    pictures = sum(line["seconds"] for line in lines if line["type"] == "image")
    return wall, own + used_by(processes) - theirs, pictures


def main() -> None:
    """Measure, and say it."""
    photos = sorted(map(str, Path(sys.argv[1]).iterdir()))
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else len(photos)
    scale = sys.argv[3] if len(sys.argv) > 3 else "2"
    subprocess.run(["coser", "serve", "start"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        options = ["-s", scale, "-o", f"{folder}/"]
        run([photos[-1], *options, "--warm"], [])  # loads the model
        processes = served_processes()
        ways: dict[str, list[tuple[float, float, float]]] = {"cold": [], "served": []}
        for photo in photos[:rounds]:
            ways["cold"].append(run([photo, *options, "--overwrite", "--no-warm"], []))
            ways["served"].append(run([photo, *options, "--overwrite", "--warm"], processes))
            say(f"load {os.getloadavg()[0]:.1f}", [ways["cold"][-1], ways["served"][-1]])
        together = [run([*photos[:rounds], *options, "--overwrite", "--no-warm"], [])]
        for name, figures in (*ways.items(), ("one command", together)):
            say(name, [tuple(sum(column) / rounds for column in zip(*figures, strict=True))])


def say(name: str, figures: list[tuple[float, ...]]) -> None:
    """A line: seconds of wall, processor and pictures of each."""
    texts = (f"wall {w:6.2f}  cpu {c:5.2f}  pictures {p:6.2f}" for w, c, p in figures)
    sys.stderr.write(f"{name:12} " + " | ".join(texts) + "\n")


if __name__ == "__main__":
    main()
