"""Import this before anything of diffusers: it makes the first import cost 0.2 s, not 1.5 s.

diffusers imports torch's compiler for one decorator, which it replaces by the identity where that
import fails. Nothing here compiles, so the import is made to fail for that moment. And it reads
the lists of files of everything that is installed, to know which distribution a package comes from,
which it asks of few packages: they are read when it does (0.3 s and more).
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module

COMPILER, USER = "torch._dynamo", "diffusers.utils.torch_utils"


def _import_without_compiler() -> None:
    """Import diffusers' helpers; the compiler can be imported as ever afterwards.

    Where that fails, what was imported by halves is forgotten: the ordinary import begins anew.
    """
    if COMPILER in sys.modules or USER in sys.modules:
        return
    before = set(sys.modules)
    sys.modules[COMPILER] = None  # type: ignore[assignment]
    try:
        with _distributions_when_asked():
            import_module(USER)
    except Exception:
        for name in [name for name in sys.modules if name.partition(".")[0] == "diffusers"]:
            if name not in before:
                del sys.modules[name]
    finally:
        del sys.modules[COMPILER]


class _WhenAsked(Mapping[str, list[str]]):
    """What `read` gives, read at the first look."""

    def __init__(self, read: Callable[[], Mapping[str, list[str]]]) -> None:
        self._read = read

    @cached_property
    def _found(self) -> Mapping[str, list[str]]:
        return self._read()

    def __getitem__(self, key: str) -> list[str]:
        return self._found[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


@contextmanager
def _distributions_when_asked() -> Iterator[None]:
    metadata = importlib.metadata
    read = metadata.packages_distributions
    metadata.packages_distributions = lambda: _WhenAsked(read)
    try:
        yield
    finally:
        metadata.packages_distributions = read


_import_without_compiler()
