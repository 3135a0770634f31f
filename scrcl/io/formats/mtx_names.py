"""Names of the genes and cells of an mtx: lines of text, or tables in CSV whose first line names their columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scrcl.errors import StoreError
from scrcl.io.formats.text_lines import name_table
from scrcl.io.text_tables import read_text_table

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.io.formats.mtx_files import MtxFiles

__all__ = ["cells_of", "genes_of"]

_FEATURE_COLUMNS = (1, 2, 3, 6)
"""Six: with the position in the genome, as Cell Ranger ARC writes them."""


def genes_of(files: MtxFiles) -> pd.DataFrame:
    """Return ids and types of the genes, indexed by symbol (or by id if there are no symbols)."""
    if _has_columns(files.genes):
        table = _columns(files.genes)
        ids = table.pop("gene_id" if "gene_id" in table else table.columns[0])
        symbols = table.pop("gene_name").to_numpy() if "gene_name" in table else ids.to_numpy()
        table.insert(0, "gene_ids", ids)
        table.index = pd.Index(symbols)
        return table
    what = "one to three columns (id, name, type) or six"
    features = name_table(files.genes, n_columns=_FEATURE_COLUMNS, what=what)
    columns = {"gene_ids": features[0].to_numpy()}
    if features.shape[1] > 2:
        columns["feature_types"] = features[2].to_numpy()
    symbols = features[min(1, features.shape[1] - 1)].to_numpy()
    if files.symbols is not None:
        symbols = name_table(files.symbols, n_columns=(1,), what="one column")[0].to_numpy()
        if len(symbols) != len(features):
            message = (
                f"{files.symbols} must have a line for each of the {len(features):,} genes of {files.genes.name}; "
                f"got {len(symbols):,}. Use the files of one matrix."
            )
            raise StoreError(message)
    _require_one_column_each(files.genes, pd.Index(columns["gene_ids"]))
    return pd.DataFrame(columns, index=symbols)


def cells_of(files: MtxFiles) -> pd.DataFrame:
    """Return the table of the cells, which is empty where there is nothing but their names."""
    if not _has_columns(files.cells):
        names = name_table(files.cells, n_columns=(1,), what="one column")
        return pd.DataFrame(index=names[0].to_numpy())
    first, *others = (each for _, each in _columns(files.cells).items())
    columns = {each.name: _numbers_or_texts(each).to_numpy() for each in others}
    return pd.DataFrame(columns, index=first.to_numpy())


def _has_columns(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(".csv")


def _columns(path: Path) -> pd.DataFrame:
    table = read_text_table(path, what="A file of names")
    return table.loc[:, table.columns != ""]


def _numbers_or_texts(column: pd.Series) -> pd.Series:
    try:
        return pd.to_numeric(column)
    except ValueError:
        return column


def _require_one_column_each(path: Path, ids: pd.Index) -> None:
    """Refuse a matrix that has spliced, unspliced and ambiguous counts beside each other."""
    third, rest = divmod(len(ids), 3)
    if third and not rest and ids[third] == f"{ids[0]}-U" and ids[2 * third] == f"{ids[0]}-A":
        message = (
            f"{path} must have each gene once; it has each three times: spliced, unspliced ({ids[third]}) and "
            f"ambiguous ({ids[2 * third]}). Add the kinds that you want, for example in Python: from pyroe import "
            f"load_fry; load_fry({str(path.parent.parent)!r}, output_format='scRNA').write_h5ad('counts.h5ad')."
        )
        raise StoreError(message)
