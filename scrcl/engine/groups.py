"""Marker genes and sums of counts of any groups of cells of a finished run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from scrcl._warnings import warned_once
from scrcl.engine.arguments import checked
from scrcl.engine.compare_genes import compared
from scrcl.engine.input_again import input_of
from scrcl.engine.later_columns import obs_of_run
from scrcl.engine.memory import block_rows_of
from scrcl.engine.named_groups import Pair, groups_of, names_of, pair_of
from scrcl.errors import InputError
from scrcl.io.arrays import cores
from scrcl.io.stream import Reading
from scrcl.markers.listed import ListedGenes
from scrcl.markers.next_clusters import with_next
from scrcl.markers.ranking import marker_table, with_names
from scrcl.prep.artifacts import STATS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

    from scrcl._progress import Reporter
    from scrcl.engine.open_run import OpenRun
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import IntArray

__all__ = ["find_markers", "pseudobulk"]


@checked
@warned_once()
def find_markers(
    out: str | Path,
    *,
    by: str = "scrcl",
    pair: Pair | None = None,
    n_genes: int | None = None,
    data: AnnData | None = None,
    inputs: Sequence[str | Path] = (),
    reporter: Reporter | None = None,
) -> pd.DataFrame:
    """Find the marker genes of groups of cells of a finished run, from one more read of its input.

    Parameters
    ----------
    out
        Output folder of the run. It is only read.
    by
        Column of obs of the result with the groups: clusters (``scrcl``), another number of clusters
        (``scrcl_k8``), subclusters (``scrcl_sub``), names (``scrcl_name``, ``scrcl_sub_name``), or a column of
        the input.
    pair
        Two groups that are compared with each other alone, or a text with a comma between them. Clusters and
        subclusters can be given by number or name. By default each group is compared with all other cells;
        of a run with batches, within each batch (``markers.within_batches``). Of two groups, genes that nearly all
        cells express are listed by their score as others are (``markers.max_share_out``).
    n_genes
        Genes that are listed for each group; by default as in the run (``markers.n_genes``).
    data
        The input of the run, if that was an AnnData in memory. Its columns of obs are those that it has now.
    inputs
        Where the input of the run is now, if it was moved.

    Returns
    -------
    DataFrame
        With the columns of ``markers.csv``; ``cluster`` has the groups, and ``name`` the names of clusters and
        subclusters that have one.

    Raises
    ------
    InputError
        There is no such column or group, a column has a value for almost every cell, or the input is gone.

    Examples
    --------
    >>> import scrcl  # doctest: +SKIP
    >>> scrcl.find_markers("out/", pair=(3, 5)).head()  # doctest: +SKIP
    """
    from scrcl.engine.open_run import open_run

    run = open_run(out)
    groups = groups_of(obs_of_run(run, data), by)
    if pair is not None:
        groups = pair_of(run, groups, pair, by)
    elif len(groups.names) < 2:
        message = f"{by} must have two groups to compare; it has {len(groups.names)}. Name another column."
        raise InputError(message)
    settings, stats = run.config.markers, run.open(STATS)
    matrix = input_of(run, inputs, data)
    found = compared(
        matrix,
        stats,
        stats.of_all_rows(groups.codes),
        settings,
        batches=_batches_of(run, matrix),
        block_rows=_block_rows(matrix),
        reading=partial(_reading, matrix, reporter, "markers"),
    )
    table = marker_table(
        found.scores,
        ListedGenes.of_var(matrix.var),
        n_top=n_genes or settings.n_genes,
        rule=settings.rule(),
    )
    table = with_next(table, found.profiles, matrix.var.index)
    for column in ("cluster", "next_cluster"):
        table[column] = [groups.names[code] for code in table[column]]
    return with_names(table, names_of(run, by))


@checked
@warned_once()
def pseudobulk(
    out: str | Path,
    *,
    donors: str,
    by: str = "scrcl",
    data: AnnData | None = None,
    inputs: Sequence[str | Path] = (),
    reporter: Reporter | None = None,
) -> AnnData:
    """Add up the counts of each group of cells in each donor, from one more read of the input of a finished run.

    Cells of one donor are no replicates: tests between conditions should compare donors. The result fits pydeseq2
    and decoupler.

    Parameters
    ----------
    out
        Output folder of the run. It is only read.
    donors
        Column of obs with the donor, or another unit of replication.
    by, data, inputs
        As for `find_markers`.

    Returns
    -------
    AnnData
        A row for each donor and group that has cells. X holds sums of counts (float64), and obs the two columns and
        ``n_cells``, which is ``n_cells_in_sum`` where a column has that name. Columns of obs that have one value in
        each donor follow, such as its condition.

    Raises
    ------
    InputError
        There is no such column, the values are no counts, or the sums are too large for the memory of the run.
    """
    from scrcl._sizes import format_bytes
    from scrcl.engine.open_run import open_run
    from scrcl.markers.pseudobulk import (
        columns_of_donors,
        pairs_of,
        sums_of_groups,
        table_of_sums,
    )

    run = open_run(out)
    stats = run.open(STATS)
    if stats.already_log:
        message = (
            f"{run.path} must be a run on counts for sums of them; its values are logarithms. "
            "Run on a layer of counts."
        )
        raise InputError(message)
    obs = obs_of_run(run, data)
    of_donor, of_group = groups_of(obs, donors, argument="donors"), groups_of(obs, by)
    pairs = pairs_of(of_donor.codes, of_group.codes)
    n_pairs = len(pairs.donors)
    matrix = input_of(run, inputs, data)
    needed = 8 * n_pairs * matrix.n_vars
    if needed > run.config.memory:
        message = (
            f"sums of {n_pairs:,} groups need {format_bytes(needed)}, more than the memory of the run "
            f"({format_bytes(run.config.memory)}). Name columns with fewer values."
        )
        raise InputError(message)
    sums = sums_of_groups(
        matrix.x(_block_rows(matrix)),
        stats.of_all_rows(pairs.codes),
        n_pairs,
        _reading(matrix, reporter, "pseudobulk"),
    )
    names = of_donor.names, of_group.names
    more = columns_of_donors(obs, of_donor.codes)
    return table_of_sums(sums, pairs, names, (donors, by), matrix.var.index, more)


def _block_rows(matrix: CellMatrix) -> int:
    """Return the number of rows of a block: as many as in a run."""
    n_values = matrix.nnz if matrix.nnz is not None else matrix.n_obs * matrix.n_vars
    return block_rows_of(n_values / matrix.n_obs, matrix.n_obs)


def _reading(matrix: CellMatrix, reporter: Reporter | None, name: str) -> Reading:
    """Announce a read of all rows. Returns who reads them: each core a block."""
    if reporter is None:
        return Reading(cores())
    reporter.stage_started(name, matrix.n_obs, "cells")
    return Reading(cores(), reporter.advance)


def _batches_of(run: OpenRun, matrix: CellMatrix) -> IntArray | None:
    """Return the batch of each cell of the input, where groups are compared within batches."""
    from scrcl.engine.covariates import read_batches

    config = run.config
    if config.batch_key is None or not config.markers.within_batches:
        return None
    found = read_batches(matrix.fresh_obs(), config.batch_key)
    return None if found is None else found.codes
