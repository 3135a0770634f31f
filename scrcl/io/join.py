"""Join samples to one matrix: the cells of one after another, on their common or on all genes."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from functools import reduce
from itertools import chain, count
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import dask.array as da
import numpy as np
import pandas as pd
from anndata import AnnData, concat
from anndata.utils import make_index_unique
from scipy import sparse

from scrcl._warnings import logger_of
from scrcl.errors import InputError
from scrcl.io.annotations import unique_genes, with_unique_names
from scrcl.io.coordinates import Coordinates, joined_coordinates
from scrcl.io.feature_types import genes_of_all
from scrcl.io.gene_names import without_version
from scrcl.io.left_out import reasons_of, with_reasons
from scrcl.io.matrix import CellMatrix
from scrcl.io.rows import select_columns
from scrcl.io.stored_dtype import exact_x

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from scrcl.io.coordinates import CellCoordinates
    from scrcl.typing import IntArray

__all__ = ["join_samples", "require_join"]

_Join: TypeAlias = Literal["inner", "outer"]
"""The genes of a join: those that all samples have, or those that any sample has."""

_log = logger_of(__name__)

_IDS = "gene_ids"
_SUFFIXES = (".gz", ".zip", ".mtx", ".h5ad", ".zarr", ".h5", ".hdf5")


def join_samples(samples: list[CellMatrix], paths: list[Path], *, how: str = "inner") -> CellMatrix:
    """Return the samples as one matrix.

    ``obs["sample"]`` is categorical, with the part of the paths that differs. Cells are named ``<barcode>-<sample>``.
    ``obsm`` keeps the keys that all samples have, columns of tables by name. Blocks keep the dtype of their sample. An
    unreadable block is reported with its file and the rows in that file. The number of joined genes is logged.

    Parameters
    ----------
    how
        ``"inner"`` keeps the genes that all samples have, in the order of the first. ``"outer"`` keeps all
        genes: those of the first, then those that each further sample adds. A gene that a sample lacks is zero
        in its cells. Annotations of a gene come from the first sample that has it.

    Raises
    ------
    InputError
        No gene is common to all, a sample without ``gene_ids`` repeats a gene name, or ``how`` is unknown.
    """
    require_join(how)
    _warn_of_repeats(paths)
    samples = genes_of_all(samples)
    indexes = _gene_indexes(samples)
    _require_unique(samples, indexes)
    common = _common_genes(samples, indexes)
    genes = common if how == "inner" else reduce(_with_new, indexes)
    lookups = [genes.get_indexer(index).astype(np.int32) for index in indexes]
    label = f"{len(samples)} samples"
    n_dropped = len(reduce(_with_new, indexes)) - len(genes)
    _log_genes(label, indexes, common, genes, n_dropped)
    n_obs = sum(s.n_obs for s in samples)

    def rows(block_rows: int) -> da.Array:
        pairs = zip(samples, lookups, strict=True)
        return da.concatenate([_on_genes(s, block_rows, to, len(genes)) for s, to in pairs])

    joined = CellMatrix(
        label=label,
        n_obs=n_obs,
        n_vars=len(genes),
        dtype=np.result_type(*(s.dtype for s in samples)),
        layout=max((s.layout for s in samples), key=("csr", "dense", "csc").index),
        nnz=_total([s.nnz for s in samples]),
        chunk_rows=max((s.chunk_rows for s in samples if s.chunk_rows), default=None),
        var=_joined_var(samples, indexes, genes),
        load_obs=lambda: with_unique_names(_joined_obs(samples, paths), kind="cell", label=label),
        load_obsm=lambda: _joined_obsm(samples),
        check_obs=lambda: _check_all(samples),
        left_out=frozenset[str]().union(*(sample.left_out for sample in samples)),
        layers=tuple(
            name for name in samples[0].layers if all(name in each.layers for each in samples)
        ),
        n_genes_dropped=n_dropped,
        sources=tuple(source for sample in samples for source in sample.sources or (_nothing,)),
        identity={
            "samples": [s.identity for s in samples],
            "shape": [n_obs, len(genes)],
            **({} if how == "inner" else {"join": how}),
        },
        rows=rows,
    )
    return unique_genes(joined)


def _nothing() -> AbstractContextManager[AnnData]:
    """Open what a sample holds besides its matrix, where its format holds nothing else."""
    return nullcontext(AnnData())


def _check_all(samples: list[CellMatrix]) -> None:
    for sample in samples:
        sample.check_obs()


def require_join(how: str) -> None:
    """Raise InputError unless ``how`` is ``"inner"`` or ``"outer"``."""
    if how not in get_args(_Join):
        message = f"join must be inner or outer; got {how!r}."
        raise InputError(message)


def _on_genes(sample: CellMatrix, block_rows: int, lookup: IntArray, n_genes: int) -> da.Array:
    """Return the rows of a sample, with each gene at its position among ``n_genes``."""
    x = exact_x(sample, block_rows)
    if np.array_equal(lookup, np.arange(n_genes)):
        return x
    return x.map_blocks(
        select_columns,
        lookup=lookup,
        n_columns=n_genes,
        chunks=(x.chunks[0], (n_genes,)),
        dtype=x.dtype,
        meta=sparse.csr_matrix((0, 0), dtype=np.float32),
    )


def _with_new(genes: pd.Index, index: pd.Index) -> pd.Index:
    """Return ``genes`` and the further genes of ``index``."""
    return genes.append(index[~index.isin(genes)])


def _joined_var(
    samples: list[CellMatrix], indexes: list[pd.Index], genes: pd.Index
) -> pd.DataFrame:
    """Return the annotations of each gene, from the first sample that has it."""
    tables, missing = [], np.ones(len(genes), dtype=bool)
    for sample, index in zip(samples, indexes, strict=True):
        positions = index.get_indexer(genes)
        taken = missing & (positions >= 0)
        if taken.any():
            tables.append(sample.var.iloc[positions[taken]])
        missing &= ~taken
    return tables[0] if len(tables) == 1 else pd.concat(tables)


def _log_genes(
    label: str, indexes: list[pd.Index], common: pd.Index, genes: pd.Index, n_dropped: int
) -> None:
    """Log how many genes are common; as a warning if the join drops any."""
    sizes = [len(index) for index in indexes]
    span = f"{min(sizes):,}" + (f" to {max(sizes):,}" if len(set(sizes)) > 1 else "")
    _log.log(
        logging.WARNING if n_dropped else logging.INFO,
        "%s: %s of %s genes are in all samples; joined on %s, %s genes are left out",
        label,
        f"{len(common):,}",
        span,
        f"{len(genes):,}",
        f"{n_dropped:,}",
    )


def _gene_indexes(samples: list[CellMatrix]) -> list[pd.Index]:
    """Return names of the genes of each sample by which they are joined.

    These are their names where these are unique and shared, else their ids: references of Cell Ranger have a few
    symbols for two genes each, and one file has symbols where another has ids. Some genes have an id in place of a
    symbol, so names that share less than half of what ids do are taken to differ.
    """
    names = [sample.var.index.astype(str) for sample in samples]
    ids = [
        pd.Index(sample.var[_IDS].astype(str)) if _IDS in sample.var else own
        for sample, own in zip(samples, names, strict=True)
    ]
    plain = [index.map(without_version) for index in ids]
    n_ids, n_plain = _n_shared(ids), _n_shared(plain)
    are_unique = all(index.is_unique for index in names)
    if are_unique and 2 * _n_shared(names) >= max(n_ids, n_plain):
        return names
    if not n_ids and not n_plain:
        return ids if all(_IDS in sample.var for sample in samples) else names
    if are_unique:
        _log.warning("Samples name genes in different ways: they are joined on the ids of genes")
    return ids if 2 * n_ids >= n_plain else plain


def _n_shared(indexes: list[pd.Index]) -> int:
    """Return how many genes all samples have; none where a name repeats."""
    if not all(index.is_unique for index in indexes):
        return 0
    return len(reduce(lambda common, index: common[common.isin(index)], indexes))


def _require_unique(samples: list[CellMatrix], indexes: list[pd.Index]) -> None:
    for sample, index in zip(samples, indexes, strict=True):
        if not index.is_unique:
            repeated = index[index.duplicated()][0]
            message = (
                f"Gene names must be unique to join samples; got {repeated!r} more than once in "
                f"{sample.label}. Make them unique (anndata's var_names_make_unique), or use ids."
            )
            raise InputError(message)


def _common_genes(samples: list[CellMatrix], indexes: list[pd.Index]) -> pd.Index:
    """Return the genes that all samples have, in the order of the first."""
    genes = reduce(lambda common, index: common[common.isin(index)], indexes)
    if genes.empty:
        names = ", ".join(f"{i[0]!r} in {s.label}" for s, i in zip(samples, indexes, strict=True))
        message = (
            f"Samples must have genes in common; got none. First genes: {names}. Use the same kind of "
            "gene names in all samples."
        )
        raise InputError(message)
    return genes


def _rename_sample_columns(tables: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Rename columns ``sample`` of the files to a name that none of them has, because the join adds its own."""
    taken = set[str]().union(*(map(str, table.columns) for table in tables))
    if "sample" not in taken:
        return tables
    free = chain(["sample_in_file"], (f"sample_in_file_{n}" for n in count(2)))
    name = next(each for each in free if each not in taken)
    _log.warning("the column 'sample' of the input is kept as %r: 'sample' names the inputs", name)
    return [table.rename(columns={"sample": name}) for table in tables]


def _joined_obs(samples: list[CellMatrix], paths: list[Path]) -> pd.DataFrame:
    """Return the annotations of all cells, with the new column ``sample``."""
    tables = _rename_sample_columns([sample.fresh_obs() for sample in samples])
    joined = concat(
        [AnnData(obs=table.set_axis(table.index.astype(str))) for table in tables],
        join="outer",
        label="sample",
        keys=_sample_names(paths),
        index_unique="-",
    )
    left_out = {
        column: f"{sample.label}: {reason}"
        for sample, table in zip(samples, tables, strict=True)
        for column, reason in reasons_of(table).items()
    }
    return with_reasons(joined.obs, left_out)


def _joined_obsm(samples: list[CellMatrix]) -> Coordinates:
    """Return the coordinates that all samples have."""

    def read(key: str) -> CellCoordinates:
        parts = [sample.obsm[key] for sample in samples]
        return joined_coordinates(key, parts, [sample.label for sample in samples])

    shared = [key for key in samples[0].obsm if all(key in s.obsm for s in samples)]
    return Coordinates(shared, read)


def _sample_names(paths: list[Path]) -> list[str]:
    """Return the parts of the paths that differ, without suffixes. Links keep their own names.

    A file has its own name if no other has it. Files of one name have the part in which their paths differ.
    """
    stems = [_stem(path) for path in paths]
    names = list(stems)
    for stem in {stem for stem in stems if stems.count(stem) > 1}:
        alike = [at for at, each in enumerate(stems) if each == stem]
        for at, name in zip(alike, _differing_parts([paths[at] for at in alike]), strict=True):
            names[at] = name
    return names if len(set(names)) == len(names) else _differing_parts(paths)


def _differing_parts(paths: list[Path]) -> list[str]:
    """Return the last part in which all paths differ, or all such parts joined."""
    whole = [path.absolute() for path in paths]
    parts = [(*path.parts[:-1], _stem(path)) for path in whole]
    depth = min(len(each) for each in parts)
    aligned = [each[-depth:] for each in parts]
    for at in range(depth - 1, -1, -1):
        names = [each[at] for each in aligned]
        if len(set(names)) == len(names):
            return names
    differing = [at for at in range(depth) if len({each[at] for each in aligned}) > 1]
    joined = ["_".join(each[at] for at in differing) or each[-1] for each in aligned]
    unique: list[str] = make_index_unique(pd.Index(joined)).tolist()
    return unique


def _warn_of_repeats(paths: list[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            _log.warning("%s is given more than once: each of its cells is there twice", path)
        seen.add(path.resolve())


def _stem(path: Path) -> str:
    name = path.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _total(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
