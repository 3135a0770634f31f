"""Genes among the features of a matrix: one rule for every format.

``var["feature_types"]`` has the kind of each feature, as Cell Ranger and scanpy write it. If it names gene expression,
all other kinds are left out. Features without a kind are genes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scrcl._warnings import logger_of
from scrcl.errors import InputError
from scrcl.io.rows import with_columns

if TYPE_CHECKING:
    import pandas as pd

    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import IntArray

__all__ = ["genes_of_all", "genes_only"]

_COLUMN = "feature_types"
_EXPRESSION = {"gene expression", "gex", "rna", "gene"}
_NO_KIND = {"", "nan", "none", "na"}
_MOST_KINDS = 5

_log = logger_of(__name__)


def genes_only(matrix: CellMatrix) -> CellMatrix:
    """Return the matrix with only its genes, and log how many other features of which kinds were left out.

    Raises
    ------
    InputError
        There are only other kinds.
    """
    return _only(matrix, _expression_columns(matrix.var, label=matrix.label))


def genes_of_all(samples: list[CellMatrix]) -> list[CellMatrix]:
    """Return samples without the features that one of them names as another kind, also where others name no kinds.

    The file of a sample may have lost the kinds that another still has. Without this, its antibodies would be genes.
    """
    others = frozenset[str]().union(*(sample.left_out for sample in samples))
    genes = []
    for sample in samples:
        is_other = np.zeros(sample.n_vars, dtype=bool)
        if _COLUMN not in sample.var:
            is_other = np.asarray(sample.var.index.astype(str).isin(others))
        if is_other.any():
            _log.warning(
                "%s: %s features are left out, because another sample has them under another kind than Gene "
                "Expression; the first is %r",
                sample.label,
                f"{int(is_other.sum()):,}",
                str(sample.var.index[int(np.argmax(is_other))]),
            )
        genes.append(_only(sample, np.flatnonzero(~is_other)))
    return genes


def _only(matrix: CellMatrix, columns: IntArray) -> CellMatrix:
    """Return the matrix with some of its columns."""
    if len(columns) == matrix.n_vars:
        return matrix
    names = matrix.var.index.astype(str)
    return replace(
        matrix,
        n_vars=len(columns),
        left_out=matrix.left_out | (frozenset(names) - frozenset(names[columns])),
        var=matrix.var.iloc[columns],
        identity={**matrix.identity, "shape": [matrix.n_obs, len(columns)]},
        rows=lambda block_rows: with_columns(matrix.rows(block_rows), columns),
    )


def _expression_columns(var: pd.DataFrame, *, label: str) -> IntArray:
    if _COLUMN not in var:
        return np.arange(len(var))
    kinds = var[_COLUMN].astype(object).where(var[_COLUMN].notna(), "").astype(str).str.strip()
    folded = kinds.str.casefold()
    has_no_kind = folded.isin(_NO_KIND).to_numpy()
    is_gene = folded.isin(_EXPRESSION).to_numpy() | has_no_kind
    if is_gene.all():
        return np.arange(len(var))
    others = kinds[~is_gene].value_counts()
    named = ", ".join(f"{count:,} {kind!r}" for kind, count in others.head(_MOST_KINDS).items())
    named += ", ..." if len(others) > _MOST_KINDS else ""
    if not is_gene.any():
        message = (
            f"{label} must have features of the kind Gene Expression; var[{_COLUMN!r}] has only {named}. Give a "
            "matrix of genes; if these are genes, name their kind Gene Expression or remove that column."
        )
        raise InputError(message)
    _log.warning(
        "%s: %s features are left out, because their kind is not Gene Expression: %s",
        label,
        f"{int((~is_gene).sum()):,}",
        named,
    )
    return np.flatnonzero(is_gene)
