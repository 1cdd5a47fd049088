"""open_clip's transformer towers without the package around them: 0.1 s to import, not 2 s.

`import open_clip` brings torchvision, timm and, through these, torch's compiler; the towers need
none of it. Their module is imported from open_clip's folder as part of a package of another name,
so that `import open_clip` elsewhere is not affected. Where that fails, the ordinary way is taken.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from torch import nn

ORDINARY, ALONE = "open_clip.transformer", "_coser_open_clip"
UNUSED = "torchvision.ops.misc"


def import_towers() -> ModuleType:
    """The module that holds `VisionTransformer` and `TextTransformer`."""
    if ORDINARY in sys.modules:
        return sys.modules[ORDINARY]
    try:
        return _import_alone()
    except Exception:  # whatever is in the way of the short one
        return import_module(ORDINARY)


def _import_alone() -> ModuleType:
    spec = find_spec("open_clip")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("open_clip is not installed")
    package = sys.modules.setdefault(ALONE, ModuleType(ALONE))
    package.__path__ = list(spec.submodule_search_locations)
    with _stand_in_for_torchvision():
        return import_module(f"{ALONE}.transformer")


@contextmanager
def _stand_in_for_torchvision() -> Iterator[None]:
    """The towers' helpers name a batch norm of torchvision that no tower has."""
    if UNUSED in sys.modules:
        yield
        return
    stand_in = ModuleType(UNUSED)
    stand_in.FrozenBatchNorm2d = nn.Module  # type: ignore[attr-defined]
    sys.modules[UNUSED] = stand_in
    try:
        yield
    finally:
        del sys.modules[UNUSED]
