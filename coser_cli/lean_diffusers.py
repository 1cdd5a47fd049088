"""Import this before anything of diffusers: it makes the first import cost 0.2 s, not 1.5 s.

diffusers imports torch's compiler for one decorator, which it replaces by the identity where that
import fails. Nothing here compiles, so the import is made to fail for that moment.
"""

from __future__ import annotations

import sys
from importlib import import_module

COMPILER, USER = "torch._dynamo", "diffusers.utils.torch_utils"


def _import_without_compiler() -> None:
    """Import diffusers' helpers; the compiler can be imported as ever afterwards."""
    if COMPILER in sys.modules or USER in sys.modules:
        return
    sys.modules[COMPILER] = None  # type: ignore[assignment]
    try:
        import_module(USER)
    finally:
        del sys.modules[COMPILER]


_import_without_compiler()
