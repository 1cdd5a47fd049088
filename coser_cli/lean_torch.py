"""Let a command's own `import torch`, and Python's end after it, cost 1.7 s of CPU, not 2.9 s.

Two things are left out. Python's kernels for tensors without memory (`torch._meta_registrations`)
and the decompositions behind them serve torch's compiler only; they come as soon as somebody asks
for either. And the garbage collector looks again and again at a million objects that will all live
as long as the process: it rests meanwhile, and is told afterwards to pass them by.

Only for processes that are ours: `prepare` changes how torch is imported by everybody in them. And
only for versions of torch whose import was taken apart and compared with the ordinary one
(tests/models/test_imports.py); others are imported whole.
"""

from __future__ import annotations

import atexit
import gc
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

VERSIONS = ("2.14.",)
TORCH, KERNELS = "torch", "torch._meta_registrations"
BEHIND = ("torch._decomp", "torch._prims", "torch._refs", "torch.utils._content_store")
"""What the kernels bring along, in an order of imports that no other beginning gets right."""
SPIN = "20000"
"""Rounds that a thread of GNU's OpenMP waits for work before it sleeps: some 0.2 ms, longer than
from one layer to the next. By default it is 300 000, which takes the core from whoever has work."""


def prepare() -> None:
    """Make the first import of torch in this process a lean one; imports nothing itself."""
    if TORCH in sys.modules or any(isinstance(finder, _First) for finder in sys.meta_path):
        return
    if "OMP_WAIT_POLICY" not in os.environ:  # GNU's OpenMP reads both when it is loaded
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN)
    sys.meta_path.insert(0, _First())
    # Python ends by collecting twice; what the system takes back anyway need not be looked at
    atexit.register(gc.freeze)


class _First(MetaPathFinder):
    """Finds torch, once, with a loader that leaves out what is not needed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != TORCH:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            known = _version(spec).startswith(VERSIONS)
            execute = loader.exec_module

            def lean(module: ModuleType) -> None:
                del loader.exec_module  # the class's own again
                with _resting_collector(), _without_kernels() if known else nullcontext():
                    execute(module)

            loader.exec_module = lean
        return spec


def _version(spec: ModuleSpec) -> str:
    """The version of the package that was found, which is not imported yet; "" if it hides it."""
    file = Path(spec.origin or "").with_name("version.py")
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    found = re.search(r"__version__ = '([^']+)'", text)
    return found[1] if found else ""


@contextmanager
def _resting_collector() -> Iterator[None]:
    was_at_work = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_at_work:
            gc.enable()


@contextmanager
def _without_kernels() -> Iterator[None]:
    """An empty module stands where the kernels are; who takes something of it gets the real one."""
    stand_in = _StandIn(KERNELS)
    sys.modules[KERNELS] = stand_in
    try:
        yield
    finally:
        _remove(stand_in)
    if any(name in sys.modules for name in BEHIND):  # a torch that needs them for its own import
        import_module(KERNELS)
    else:
        sys.meta_path.insert(0, _Later())


class _StandIn(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _remove(self)
        return getattr(import_module(KERNELS), name)


def _remove(stand_in: ModuleType) -> None:
    if sys.modules.get(KERNELS) is stand_in:
        del sys.modules[KERNELS]
    names = vars(sys.modules[TORCH]) if TORCH in sys.modules else {}
    if names.get(last := KERNELS.rpartition(".")[2]) is stand_in:
        del names[last]


class _Later(MetaPathFinder):
    """Whoever asks for what is behind the kernels gets these first, which register all of it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in (KERNELS, *BEHIND):
            return None
        sys.meta_path.remove(self)
        if name == KERNELS:
            return None
        import_module(KERNELS)
        module = sys.modules.get(name)
        if module is None:
            return None
        # the import that is under way takes the spec of a module that has come meanwhile
        module.__spec__ = spec = ModuleSpec(name, _Loaded(module))
        return spec


class _Loaded(Loader):
    """Loads a module that is loaded."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec
