"""Stage ``names``: names of the clusters, from a table of marker genes or from the user.

Names of the user are kept in OUT (`scrcl.engine.rename`) with the clusters that they were given to. After clusters
are found again, one with most of the cells of a named cluster, and few others, keeps its name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from scrcl._contract import Estimate
from scrcl._settings import Settings, option
from scrcl.cluster.artifacts import LABELS
from scrcl.engine.annotate import named_categories
from scrcl.engine.given_names import lost_names, names_given
from scrcl.engine.memory import LIBRARIES_BYTES, kept_bytes
from scrcl.engine.stage import AnnDataKeys, NewCellsStage, Record, Stage
from scrcl.engine.stages.markers import write_marker_file
from scrcl.engine.stages.names_by_table import genes_table, names_by_table, sets_and_genes
from scrcl.engine.stages.names_notes import notes_of_lost, shown_table
from scrcl.errors import InputError
from scrcl.markers.artifacts import (
    MARKERS,
    NAME_GENES,
    NAME_GENES_FILE,
    NAMES,
    NAMES_FILE,
)
from scrcl.report.colours import palette
from scrcl.report.page import Section

if TYPE_CHECKING:
    import pandas as pd

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.io.matrix import CellMatrix
    from scrcl.markers.tables import MarkerSet

__all__ = ["NamesSettings", "NamesStage"]


class NamesSettings(Settings):
    """Names of the clusters."""

    several: ClassVar[frozenset[str]] = frozenset({"tissues"})
    table: Path | None = option(
        None,
        "--markers-table",
        panel="Clusters",
        description="Table of marker genes of cell types, by which clusters are named: GMT, PanglaoDB, CellMarker, "
        "ScType, or columns cell_type and gene.",
    )
    tissues: str | None = Field(
        None,
        description="Tissues that the cells are from, with commas. Types that the table has in other tissues are left "
        "out, except those that it has in two tissues or more. Types that stay keep their genes of all tissues. "
        "Unset: all types.",
    )
    species: str | None = Field(
        None, description="Species whose rows of the table are used, such as human. Unset: all."
    )
    min_score: float = Field(
        4.0,
        description="Clusters with a lower score are unknown. A score is how many standard deviations the "
        "genes of a type lie above random genes of the same expression.",
    )

    def sets(self) -> list[MarkerSet]:
        """Return the sets of the table."""
        from scrcl.markers.tables import read_marker_table

        assert self.table is not None, "there is a table"
        tissues = [part.strip() for part in (self.tissues or "").split(",") if part.strip()]
        return read_marker_table(self.table, tissues=tissues, species=self.species)


class NamesRecord(Record):
    """How clusters were named.

    Attributes
    ----------
    gene_column
        Column of var with the gene names of the table; None: the index.
    n_genes_found, n_genes_table
        Genes of the table that are in the data, and all of them.
    n_given
        Clusters that the user named.
    """

    n_unknown: int = 0
    n_given: int = 0
    gene_column: str | None = None
    n_genes_found: int = 0
    n_genes_table: int = 0


class NamesStage(Stage[NamesRecord]):
    """Names clusters by a table of markers, and by the user."""

    name = "names"
    settings = NamesSettings
    record = NamesRecord
    gives = (NAMES, NAME_GENES)
    # `tables` is the content of the files that settings name.
    redo_settings = ("names", "tables")
    owned_obs = ("scrcl_name",)

    def check(self, header: CellMatrix, config: RunConfig) -> None:
        """Refuse a table that cannot be read, or whose genes are not in the data; and a choice of rows without one."""
        # Not a rule of the settings: those of a finished run are kept without the path of its table.
        names: NamesSettings = config.group(self.name)
        if names.table is not None:
            sets_and_genes(header.var, config, header.label)
        elif names.tissues is not None or names.species is not None:
            message = (
                "names.tissues and names.species must go with names.table; got none. "
                "Name a table by `names.table`."
            )
            raise InputError(message)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the profiles of all genes, which a table is compared with."""
        labels = LIBRARIES_BYTES + kept_bytes(shape) + 12 * shape.n_cells
        if config.names.table is None:
            return Estimate(labels)
        return Estimate(labels + 60 * shape.n_vars * 50, seconds=0.5)

    def run(self, context: Context, folder: Path) -> NamesRecord:
        """Write ``names.csv``, and the genes that speak for the names."""
        config, labels = context.config, np.asarray(context.open(LABELS))
        n_clusters = int(labels.max()) + 1
        given = names_given(context.folder.path, labels)
        notes = [*notes_of_lost(lost_names(context.folder.path, labels))]
        if config.names.table is None and not given:
            write_marker_file(context.folder.path, context.open(MARKERS), {})
            return NamesRecord(left_as_is=True, notes=tuple(notes))
        about: dict[str, object] = {}
        table, genes = _empty_table(n_clusters), genes_table(context.matrix.var, [])
        if config.names.table is not None:
            sets, found = sets_and_genes(context.matrix.var, config, context.matrix.label)
            table, genes, of_table = names_by_table(context, table, sets, found, given)
            notes += of_table
            about = {
                "gene_column": found.column,
                "n_genes_found": len(found.position),
                "n_genes_table": found.n_wanted,
            }
        for cluster, name in given.items():
            table.loc[cluster, ["name", "by"]] = name, "user"
        table.to_csv(folder / NAMES_FILE, index=False)
        genes.to_csv(folder / NAME_GENES_FILE, index=False)
        # Again, since names are known after the markers.
        named = dict(zip(map(str, table["cluster"]), table["name"], strict=True))
        write_marker_file(context.folder.path, context.open(MARKERS), named)
        n_unknown = int((table["name"] == "unknown").sum())
        return NamesRecord(
            n_unknown=n_unknown,
            n_given=len(given),
            notes=tuple(notes),
            **about,
        )

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return the name of the cluster of each cell, and the table."""
        return _keys(run)

    def section(self, run: OpenRun) -> Section | None:
        """Return how sure the names of a table are; those that were given stand in the table of clusters."""
        record = run.record(NamesStage)
        if record.left_as_is or run.config.names.table is None:
            return super().section(run)
        table = shown_table(run.open(NAMES), run.open(NAME_GENES))
        return Section("Names", table=table, notes=record.notes)

    def for_new_cells(self, run: OpenRun) -> NewNamesStage:
        """Return the stage that gives new cells the names of the finished run."""
        return NewNamesStage(run)


class NewNamesRecord(Record):
    """Name of each cluster of the run; none if the run has no names."""

    names: tuple[str, ...] = ()


class NewNamesStage(NewCellsStage[NewNamesRecord]):
    """Gives new cells the names of the clusters of the run."""

    name = "names"
    record = NewNamesRecord
    gives = (NAMES,)
    owned_obs = NamesStage.owned_obs

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return next to nothing: a row for each cluster."""
        return Estimate(0)

    def holds(self, record: NewNamesRecord) -> bool:
        """Return whether the clusters of the run still have the names that were read."""
        return record.names == self._names()

    def run(self, context: Context, folder: Path) -> NewNamesRecord:  # noqa: ARG002
        """Write ``names.csv``: that of the run."""
        names = self._names()
        if names:
            self._run.open(NAMES).to_csv(folder / NAMES_FILE, index=False)
        return NewNamesRecord(names=names, left_as_is=not names)

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return the name of the cluster of each cell, and the table."""
        return _keys(run)

    def _names(self) -> tuple[str, ...]:
        return tuple(map(str, self._run.open(NAMES)["name"])) if self._run.has(NAMES) else ()


def _keys(run: OpenRun) -> AnnDataKeys:
    """Return the name of the cluster of each cell, and the table."""
    table, labels = run.open(NAMES), np.asarray(run.open(LABELS))
    column = named_categories(list(table["name"]), labels)
    # Those of the clusters, unless two have one name.
    colours = np.array(palette(len(column.categories)))
    return AnnDataKeys(
        obs={"scrcl_name": column},
        uns={"names": table},
        uns_other={"scrcl_name_colors": colours},
    )


def _empty_table(n_clusters: int) -> pd.DataFrame:
    import pandas as pd

    table = pd.DataFrame({"cluster": np.arange(n_clusters)})
    table["name"] = [str(i) for i in range(n_clusters)]
    table["by"] = ""
    return table
