"""What a run asks for: alike for all its jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from coser_cli.imageio.encoding import DEFAULT, Encoding
from coser_cli.settings import Settings, TileSpec

if TYPE_CHECKING:
    from coser_cli.batch.fit import Fit
    from coser_cli.batch.provenance import Provenance
    from coser_cli.imageio.photo import Photo


@dataclass(frozen=True)
class Work:
    """What is alike for all jobs of a run.

    `references` are pictures of the user that guide every job, instead of imagined ones. `fit`
    gives each picture its own scale instead of that of `settings`, `encoding` says how results are
    written. `spec` says how large pictures are cut; `always_tiles` cuts small ones, too. As many
    small pictures of one size as `batch_size` says are made at once; None: as the engine advises.
    With `provenance` outputs get records, and those that are there are judged by theirs; without,
    what is there is kept. `one_by_one`: a job begins when the one before has ended.
    """

    settings: Settings
    references: Sequence[Photo] = ()
    fit: Fit | None = None
    encoding: Encoding = DEFAULT
    spec: TileSpec = field(default_factory=TileSpec)
    always_tiles: bool = False
    overwrite: bool = False
    provenance: Provenance | None = None
    batch_size: int | None = 1
    one_by_one: bool = False

    def settings_for(self, size: tuple[int, int]) -> Settings:
        """The settings for a picture of `size` (width, height)."""
        if self.fit is None:
            return self.settings
        return replace(self.settings, scale=self.fit.scale(size))
