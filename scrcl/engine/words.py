"""What the report and the terminal call rows and their groups: cells, clusters and batches.

In a tissue they are spots, domains and slices; groups of a closer look are subclusters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun

__all__ = ["Words", "listed", "of_groups", "of_look", "words_from", "words_in", "words_of"]

_NAMED = 8
"""Names that a sentence lists."""

_GENERAL = re.compile(
    r"`[^`]*`|(?<![\w.-])(?P<word>cell|cluster)(?=s?\b)(?![=_]|\.\w| graph| type)"
)
"""Words of the layers below, but not in what is typed (`cluster.also`), nor in cell graph and cell type."""

_ON_A_SETTING = re.compile(r" [^.`]*`[a-z_]+\.[a-z_]+=[^`]*`[^.]*\.(?= |$)")
"""A sentence on a setting of a group, such as `cluster.rare_cells=0`. A closer look takes none."""


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

    def put_in(self, text: str) -> str:
        """Return a text of the layers below, which says cells and clusters whatever they are, in these words."""
        if self.prefix:
            text = _ON_A_SETTING.sub("", text)
        own = {"cell": self.cell, "cluster": self.cluster}
        return _GENERAL.sub(lambda found: own.get(found["word"], found[0]), text)


def words_of(run: OpenRun) -> Words:
    """Return the words for a finished run."""
    from scrcl.engine.stages.graph import GraphStage  # which has texts in these words, too

    layout = run.record(GraphStage).layout
    return words_from(run.config, None if layout is None else layout["kind"])


def words_in(context: Context) -> Words:
    """Return the words for a run that is at work."""
    layout = context.covariates.layout
    return words_from(context.config, None if layout is None else layout.kind)


def of_look(words: Words, prefix: str) -> Words:
    """Return the words of a run for a closer look into one of its clusters."""
    return replace(words, cluster="subcluster", prefix=prefix)


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
