"""What shell loops cost without a server, with one, and as one command; with the figures around it.

    python -m tools.benchmarks.shell_loop [--count 100] [--cold 20] [--jobs 200]

Run it on a quiet machine, from the root of the checkout. It makes its pictures from `examples/`,
and its server has a runtime folder of its own and ends with it. Times are seconds: by the clock,
and of the processor (user + system of all processes, the server's too), so that a busy machine can
be told from a slow program. Linux only: it reads proc(5).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

EARLY = 20
"""Jobs after which the memory of the server is compared with that after all."""
NETWORK = """
import json, sys, time
from PIL import Image
from coser_cli import Upscaler
upscaler, costs = Upscaler.from_pretrained("mini", device="cpu"), []
image = Image.open(sys.argv[1])
for _ in range(int(sys.argv[2]) + 1):
    wall, cpu = time.monotonic(), time.process_time()
    upscaler(image, scale=4, preset=sys.argv[3])
    costs.append((time.monotonic() - wall, time.process_time() - cpu))
print(json.dumps(costs[1:]))
"""


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock and of the processor."""

    wall: float
    cpu: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.wall - other.wall, self.cpu - other.cpu)

    def __truediv__(self, count: int) -> Cost:
        return Cost(self.wall / count, self.cpu / count)


def total(costs: Sequence[Cost]) -> Cost:
    """The sum."""
    return sum(costs, Cost(0, 0))


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each."""
    wall, cpu = ([getattr(cost, name) for cost in costs] for name in ("wall", "cpu"))
    return Cost(statistics.median(wall), statistics.median(cpu))


class Shell:
    """Runs `coser` in `folder`, with a runtime folder and settings of its own."""

    def __init__(self, folder: Path) -> None:
        beside = Path(sys.executable).with_name("coser")
        coser = str(beside) if beside.exists() else shutil.which("coser")
        if coser is None:
            raise SystemExit("shell_loop: coser is not installed here")
        self.coser: str = coser
        self.folder = folder
        runtime = folder / "run"
        runtime.mkdir(mode=0o700)
        own = {key: value for key, value in os.environ.items() if not key.startswith("COSER_")}
        self._environment = own | {"COSER_RUNTIME_DIR": str(runtime)}

    def run(self, *words: str) -> Cost:
        """What `coser` with these words costs, without what a server does for it."""
        return self.measure([self.coser, *words])

    def measure(self, command: Sequence[str], *, text: str | None = None) -> Cost:
        """What a command costs, its children included; `text` goes to its stdin."""
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        self._call(command, text=text)
        wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    def output(self, *command: str) -> str:
        """What a command writes to stdout."""
        return self._call(command)

    def _call(self, command: Sequence[str], *, text: str | None = None) -> str:
        ran = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            raise SystemExit(f"shell_loop: {' '.join(command)} failed:\n{ran.stderr}")
        return ran.stdout

    def server(self) -> dict[str, Any]:
        """What the server says of itself."""
        state: dict[str, Any] = json.loads(self.output(self.coser, "serve", "status", "--json"))
        return state

    def used_by_server(self) -> float:
        """Seconds of the processor that the server has used since its start."""
        return used_by_session(self.server()["process"])

    def stop(self) -> None:
        """End the server, if one runs."""
        self.run("serve", "stop")


def used_by_session(session: int) -> float:
    """Seconds of the processor of all processes in a session: proc(5), fields 6, 14 and 15."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) == session:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def make_pictures(folder: Path, count: int) -> list[str]:
    """So many different pictures of 64 × 64 in `folder`/in."""
    examples = Path(__file__).parents[2] / "examples"
    photos = [Image.open(examples / name).convert("RGB") for name in ("cat.jpg", "coffee.jpg")]
    (folder / "in").mkdir()
    names = []
    for number in range(count):
        photo = photos[number % 2]
        left, top = number * 37 % (photo.width - 63), number * 23 % (photo.height - 63)
        names.append(f"in/{number:03}.png")
        photo.crop((left, top, left + 64, top + 64)).save(folder / names[-1])
    photos[0].crop((32, 0, 160, 128)).save(folder / "p128.png")
    return names


def hashes(folder: Path) -> dict[str, str]:
    """Names and SHA-256 of the files in a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def say(text: str = "") -> None:
    """A line of the report."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say_cost(name: str, cost: Cost, note: str = "") -> None:
    """A line with a cost."""
    say(f"  {name:34} wall {cost.wall:7.3f}  processor {cost.cpu:7.3f}  {note}".rstrip())


def say_ratio(name: str, above: Cost, below: Cost) -> None:
    """A line with how many times as much one costs as another."""
    wall, cpu = above.wall / below.wall, above.cpu / below.cpu
    say(f"  {name:34} wall {wall:7.2f}  processor {cpu:7.2f}  times")


def start_up(shell: Shell, rounds: int) -> None:
    """What commands cost that make no picture."""
    say(f"start-up, median of {rounds}")
    for words in (("--help",), ("--version",), ("upscale", "--help")):
        say_cost("coser " + " ".join(words), median([shell.run(*words) for _ in range(rounds)]))


def loop(shell: Shell, names: Sequence[str], *options: str) -> Cost:
    """What a shell loop costs, a command for each picture, without what a server does for it."""
    return total([shell.run("upscale", name, "-s", "2", *options) for name in names])


def loops(shell: Shell, names: Sequence[str], cold: int, *options: str) -> None:
    """A loop without a server, one whose first command starts a server, and one command for all.
    The server goes on.
    """
    count = len(names)
    words = " ".join(("coser upscale f -s 2", *options))
    say(f"{words}: per picture of 64 x 64; {count} pictures, without a server {cold}")
    folders = {way: "-".join((way, *options)) for way in ("cold", "served", "one")}
    without = loop(shell, names[:cold], *options, "--no-warm", "-o", folders["cold"] + "/") / cold
    shell.stop()
    warm = *options, "--warm", "-o", folders["served"] + "/"
    first = loop(shell, names[:1], *warm) + Cost(0, shell.used_by_server())
    before = shell.used_by_server()
    others = loop(shell, names[1:], *warm) + Cost(0, shell.used_by_server() - before)
    served = (first + others) / count
    target = "--no-warm", "-o", folders["one"] + "/"
    one = shell.run("upscale", *names, "-s", "2", *options, *target) / count
    say_cost("cold", without)
    say_cost("served, with the server's start", served)
    say_cost("served, without the first command", others / (count - 1))
    say_cost("one command", one)
    say_ratio("cold / served", without, served)
    say_ratio("served / one command", served, one)
    expected = hashes(shell.folder / folders["one"])
    same = hashes(shell.folder / folders["served"]) == expected
    some = hashes(shell.folder / folders["cold"]).items() <= expected.items()
    say(f"  the same bytes: served {same}, cold {some}")


def memory(shell: Shell, names: Sequence[str], jobs: int) -> None:
    """Of a server: without a model, with one, and as jobs go on. It has ended afterwards."""
    say("memory of a server and its model's process, MiB resident")
    shell.stop()
    shell.run("serve", "start")
    say(f"  without a model      {shell.server()['memory'] / 2**20:7.1f}")
    done = 0
    for until in sorted({1, min(EARLY, jobs), jobs}):
        for number in range(done, until):
            loop(shell, [names[number % len(names)]], "--warm", "--overwrite", "-o", "memory/")
        done = until
        say(f"  after {done:4} jobs      {shell.server()['memory'] / 2**20:7.1f}")
    shell.stop()


def several_clients(shell: Shell, names: Sequence[str], clients: int) -> None:
    """`xargs -P` with a server that runs, against one command."""
    say(f"xargs -P{clients} -n1, per picture of {len(names)}")
    shell.run("upscale", names[0], "-s", "2", "--warm", "-o", "first/")
    before = shell.used_by_server()
    words = "upscale", "-s", "2", "--warm", "-o", "xargs/"
    command = "xargs", f"-P{clients}", "-n1", shell.coser, *words
    at_once = shell.measure(command, text="\n".join(names))
    at_once += Cost(0, shell.used_by_server() - before)
    one = shell.run("upscale", *names, "-s", "2", "--no-warm", "-o", "xargs-one/")
    say_cost(f"{clients} clients", at_once / len(names))
    say_cost("one command", one / len(names))
    same = hashes(shell.folder / "xargs") == hashes(shell.folder / "xargs-one")
    say(f"  the same bytes: {same}")


def one_picture(shell: Shell, rounds: int, *options: str) -> None:
    """`coser upscale p128.png -s 4`, and the network's part in it."""
    say(" ".join(("coser upscale p128.png -s 4", *options)) + f", median of {rounds}")
    words = "upscale", "p128.png", "-s", "4", *options, "--overwrite", "-o", "p128/"
    shell.run(*words, "--warm")
    cold, served = [], []
    for _ in range(rounds):
        cold.append(shell.run(*words, "--no-warm"))
        before = shell.used_by_server()
        served.append(shell.run(*words, "--warm") + Cost(0, shell.used_by_server() - before))
    fast = "fast" if options else "balanced"
    text = shell.output(sys.executable, "-c", NETWORK, "p128.png", str(rounds), fast)
    network = median([Cost(*each) for each in json.loads(text)])
    say_cost("the picture alone, in a process", network)
    say_cost("cold", median(cold))
    say_cost("served", median(served))
    say_cost("cold, less the picture", median(cold) - network)
    say_cost("served, less the picture", median(served) - network)


def main() -> None:
    """Measure, and report on stdout."""
    parser = argparse.ArgumentParser(description="What shell loops of coser cost.")
    parser.add_argument("--count", type=int, default=100, help="pictures of a loop")
    parser.add_argument("--cold", type=int, default=20, help="of these without a server")
    parser.add_argument("--jobs", type=int, default=200, help="jobs until memory is looked at")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions where medians are given")
    parser.add_argument("--clients", type=int, default=4, help="commands at once, by xargs")
    arguments = parser.parse_args()
    say(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, OMP_NUM_THREADS "
        f"{os.environ.get('OMP_NUM_THREADS', 'not set')}"
    )
    with tempfile.TemporaryDirectory() as name:
        shell = Shell(Path(name))
        names = make_pictures(shell.folder, arguments.count)
        try:
            start_up(shell, arguments.rounds)
            for options in ((), ("--fast",)):
                loops(shell, names, min(arguments.cold, arguments.count), *options)
                one_picture(shell, arguments.rounds, *options)
            several_clients(shell, names, arguments.clients)
            memory(shell, names, arguments.jobs)
        finally:
            shell.stop()
    say(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
