"""The former place of `coser_cli.config`."""

from coser_cli.config import ScheduleConfig

__all__ = ["ScheduleConfig"]
