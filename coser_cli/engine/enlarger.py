"""What jobs need of an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from coser_cli.settings import Settings, TileSpec

if TYPE_CHECKING:
    from torch import Tensor

    from coser_cli.engine.costs import Cost, Task
    from coser_cli.engine.progress import Progress
    from coser_cli.engine.references import Candidates
    from coser_cli.engine.tiled import TiledUpscaler
    from coser_cli.engine.upscaler import Upscaled
    from coser_cli.tiling.canvas import Scratch


class Enlarger(Protocol):
    """What jobs need of `Upscaler`."""

    def upscale(
        self,
        pixels: Tensor,
        settings: Settings | None = None,
        *,
        on_progress: Progress | None = None,
        want_reference: bool = False,
        references: Sequence[Tensor] = (),
    ) -> Upscaled: ...

    def candidates(
        self,
        pixels: Tensor,
        settings: Settings | None = None,
        on_progress: Progress | None = None,
    ) -> Candidates: ...

    def complete(self, settings: Settings | None) -> Settings: ...

    @property
    def device(self) -> Any:
        """Torch's device that it computes on."""
        ...

    @property
    def dtype(self) -> Any:
        """Torch's type of the numbers that it computes with."""
        ...

    @property
    def low_memory(self) -> bool:
        """Whether memory goes before time: then all pictures are done in tiles."""
        ...

    @property
    def is_compiled(self) -> bool:
        """Whether steps were compiled, so that results may differ in their last bits."""
        ...

    def why_tiled(self, size: tuple[int, int], settings: Settings, spec: TileSpec) -> str:
        """Why a picture of `size` (height, width) is done in tiles; "" where it need not be."""
        ...

    def batch_limit(self, size: tuple[int, int], settings: Settings) -> int:
        """How many pictures of `size` (height, width) are best made at once."""
        ...

    def cost(self, task: Task) -> Cost:
        """What a task takes in tiles."""
        ...

    def in_tiles(
        self, cost: Cost, spec: TileSpec, scratch: Scratch, on_progress: Progress
    ) -> TiledUpscaler:
        """The same, for one picture in tiles."""
        ...
