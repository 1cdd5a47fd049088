"""The options about how the pictures of a run are shared out: batches, devices, machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from coser_cli.cli.options.common import model_option
from coser_cli.errors import UsageError

MAX_BATCH = 256


@dataclass(frozen=True)
class Workers:
    """The values of these options."""

    batch_size: Annotated[
        str,
        model_option(
            "Make as many small pictures of one size at once; auto goes by device and memory "
            "(one on a CPU, where more are no faster).",
            metavar="auto|N",
            envvar="COSER_BATCH_SIZE",
        ),
    ] = "auto"
    devices: Annotated[
        str | None,
        model_option(
            "Share the pictures out among these devices, as in cuda:0,cuda:1; instead of --device.",
            metavar="NAME,NAME",
            envvar="COSER_DEVICES",
        ),
    ] = None
    cluster: Annotated[
        str | None,
        model_option(
            "Share the pictures out among the GPUs (or CPUs) of a Ray cluster; auto is the "
            "one that this machine belongs to, or else this machine.",
            metavar="auto|ray://HOST:PORT",
            envvar="COSER_CLUSTER",
        ),
    ] = None

    warm: Annotated[
        bool | None,
        model_option(
            "Let a server that keeps the model loaded do the work, and start one if none runs "
            "(see coser serve); by default one that runs already is used.",
            "--warm/--no-warm",
            envvar="COSER_WARM",
        ),
    ] = None

    @property
    def batch(self) -> int | None:
        """The number of pictures made at once, None for auto. Raises `UsageError`."""
        if self.batch_size == "auto":
            return None
        if self.batch_size.isascii() and self.batch_size.isdigit():
            number = int(self.batch_size)
            if 1 <= number <= MAX_BATCH:
                return number
        hint = f"give auto or a number from 1 to {MAX_BATCH}"
        raise UsageError(f"--batch-size {self.batch_size!r} is no batch size", hint)

    @property
    def device_names(self) -> tuple[str, ...]:
        """The devices of a list like `cuda:0,cuda:1`; one that comes twice gets two workers.

        Raises `UsageError` for an empty name.
        """
        if self.devices is None:
            return ()
        names = tuple(name.strip() for name in self.devices.split(","))
        if not all(names):
            message = f"--devices {self.devices!r} names no device somewhere"
            raise UsageError(message, "as in cuda:0,cuda:1")
        return names

    def require_sane(self, fail_fast: bool) -> None:
        """Raise `UsageError` where the options contradict each other, before anything runs."""
        if fail_fast and (self.devices is not None or self.cluster is not None):
            raise UsageError(
                "--fail-fast goes with neither --devices nor --cluster, which work on several "
                "pictures at once",
                "leave one out",
            )
        if self.devices is not None and self.cluster is not None:
            raise UsageError("--devices and --cluster go not together", "choose one")
