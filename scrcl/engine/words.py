"""What the report and the terminal call rows and their groups: cells, clusters and batches.

In a tissue they are spots, domains and slices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scrcl.engine.stages.graph import GraphStage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun

__all__ = ["Words", "listed", "of_groups", "words_from", "words_of"]

_NAMED = 8
"""Names that a sentence lists."""


@dataclass(frozen=True)
class Words:
    """Names for a row, for a group of rows that was found, and for one that was given to correct for.

    Attributes
    ----------
    prefix
        What the numbers of clusters begin with, in a closer look: ``3_``.
    """

    cell: str = "cell"
    cluster: str = "cluster"
    batch: str = "batch"
    prefix: str = ""

    @property
    def kind(self) -> str:
        """What a cluster stands for."""
        return "domain" if self.cluster == "domain" else "type"

    @property
    def batches(self) -> str:
        """The plural of ``batch``; those of the others have an s."""
        return f"{self.batch}{'es' if self.batch.endswith('ch') else 's'}"

    def name(self, cluster: int) -> str:
        """Return the number of a cluster as a name."""
        return f"{self.prefix}{cluster}"

    def cells(self, n: int) -> str:
        """Return a number of rows in words."""
        return f"{n:,} {self.cell}{'' if n == 1 else 's'}"

    def clusters(self, n: int) -> str:
        """Return a number of groups in words."""
        return f"{n:,} {self.cluster}{'' if n == 1 else 's'}"


def words_of(run: OpenRun | Context, *, prefix: str = "") -> Words:
    """Return the words for a run whose neighbours are known, or for a closer look into one of its clusters."""
    layout = run.record(GraphStage).layout
    words = words_from(run.config, None if layout is None else layout["kind"])
    return replace(words, cluster="subcluster", prefix=prefix) if prefix else words


def of_groups(words: Words) -> Words:
    """Return the words where groups of batches take the place of batches."""
    return replace(words, batch="group")


def listed(names: Sequence[str], separator: str = ", ") -> str:
    """Return names for a sentence, the first few of many."""
    shown = separator.join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def words_from(config: RunConfig, layout: str | None) -> Words:
    """Return the words for settings and a kind of coordinates.

    Rows on a grid are spots, groups that are found in the tissue are domains, and batches of a tissue that are its
    samples are slices.
    """
    by_slice = config.sample_key is not None and config.batch_key == config.sample_key
    return Words(
        "cell" if layout in (None, "irregular") else "spot",
        "domain" if config.on_tissue else "cluster",
        "slice" if by_slice else "batch",
    )
