"""Tables of marker genes of known cell types, in the layouts that people have.

GMT, PanglaoDB, CellMarker 1 and 2, ScType, and tables of one's own. Except for GMT, what a column holds is known from
its name alone, so one reader serves all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrcl.errors import InputError
from scrcl.io.text_tables import read_text_table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    import pandas as pd

__all__ = ["MarkerSet", "read_marker_table"]

# Names of columns in lower case, letters only. The first that a table has is taken. CellMarker has both a cell type
# ("Normal cell") and a cell name, and PanglaoDB calls the cell name a cell type.
_TYPE = ("cellname", "celltype", "celltypename", "cell", "type", "set", "term", "label", "name")
_GENE = (
    "officialgenesymbol", "genesymbolmore1", "symbol", "genesymbol", "gene", "genes", "genename", "marker", "markers",
    "cellmarker", "feature",
)  # fmt: skip
_SPECIES, _TISSUE, _SIGN = ("species", "speciestype"), ("tissue", "tissuetype", "organ"), ("sign",)

_SPECIES_NAMES = {"hs": "human", "homosapiens": "human", "mm": "mouse", "musmusculus": "mouse"}
_WORKBOOKS = (".xlsx", ".xls")


@dataclass(frozen=True)
class MarkerSet:
    """Genes that a cell type expresses.

    Attributes
    ----------
    name
        The cell type.
    genes
        Without repeats.
    tissues, species
        What the table says of it; empty where it says nothing.
    """

    name: str
    genes: tuple[str, ...]
    tissues: frozenset[str] = frozenset()
    species: frozenset[str] = frozenset()


def read_marker_table(
    path: Path, *, tissues: Collection[str] = (), species: str | None = None
) -> list[MarkerSet]:
    """Return the cell types of a table with the genes that they express.

    Parameters
    ----------
    path
        ``.gmt``; or ``.csv``, ``.tsv``, ``.txt`` or ``.xlsx`` with columns of cell types and of genes, one gene or a
        list of genes in a row.
    tissues
        Only types of these, and types that the table has in two tissues or more: they occur in many. All by default.
        Case does not matter.
    species
        Only rows of this one; all by default.

    Raises
    ------
    InputError
        The file cannot be read, lacks a column, or has no row of the tissue or species.
    """
    rows = list(_gmt_rows(path) if path.suffix.lower() == ".gmt" else _table_rows(path))
    if not rows:
        message = f"names.table must list genes of cell types; got {path}, which lists none. Name another table."
        raise InputError(message)
    of_species = [row for row in rows if species is None or _species_of(species) in row.species]
    wanted = {_plain(each) for each in tissues}
    if not of_species or not wanted <= {_plain(row.tissue) for row in of_species}:
        raise InputError(_none_kept(path, rows, tissues, species))
    sets: dict[str, list[_Row]] = {}
    for row in of_species:
        sets.setdefault(row.name, []).append(row)
    return [
        MarkerSet(
            name,
            tuple(dict.fromkeys(gene for row in group for gene in row.genes)),
            frozenset(row.tissue for row in group if row.tissue),
            frozenset(each for row in group for each in row.species),
        )
        for name, group in sets.items()
        if not wanted or _may_occur({_plain(row.tissue) for row in group}, wanted)
    ]


def _may_occur(tissues: Collection[str], wanted: Collection[str]) -> bool:
    """Return whether a type of ``tissues`` may occur in the ones that are ``wanted``: pericytes are everywhere."""
    named = set(tissues) - {""}
    return len(named) > 1 or not named.isdisjoint(wanted)


@dataclass(frozen=True)
class _Row:
    name: str
    genes: tuple[str, ...]
    tissue: str = ""
    species: tuple[str, ...] = ()


def _gmt_rows(path: Path) -> Iterator[_Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(_unreadable(path, error)) from None
    for line in text.splitlines():
        name, _, *genes = [part.strip() for part in f"{line}\t\t".split("\t")]
        found = tuple(gene for gene in genes if gene)
        if name and found:
            yield _Row(name, found)


def _table_rows(path: Path) -> Iterator[_Row]:
    table = _read(path)
    columns = {_plain(column): column for column in reversed(table.columns)}
    kind, gene = (_column(columns, names) for names in (_TYPE, _GENE))
    if kind is None or gene is None:
        what = "cell types (cell_type or cell_name)" if kind is None else "genes (gene or symbol)"
        message = (
            f"names.table must have a column of {what}; got {path} with {', '.join(table.columns[:12])}. "
            "Rename the column."
        )
        raise InputError(message)
    others = {name: _column(columns, wanted) for name, wanted in
              (("species", _SPECIES), ("tissue", _TISSUE), ("sign", _SIGN))}  # fmt: skip
    for record in table.to_dict("records"):
        name = str(record[kind]).strip()
        sign = _plain(str(record[others["sign"]])) if others["sign"] else ""
        genes = _genes_of(str(record[gene]))
        if name and genes and not sign.startswith("neg"):
            yield _Row(
                name,
                genes,
                str(record[others["tissue"]]).strip() if others["tissue"] else "",
                _species_in(str(record[others["species"]])) if others["species"] else (),
            )


def _read(path: Path) -> pd.DataFrame:
    """Return a table of texts, of a workbook or of a text."""
    if path.suffix.lower() not in _WORKBOOKS:
        return read_text_table(path, what="names.table")
    import pandas as pd

    try:
        table = pd.read_excel(path, dtype=str, keep_default_na=False)
    except Exception as error:  # noqa: BLE001 - the readers of workbooks have errors of their own
        raise InputError(_unreadable(path, error)) from None
    return table.rename(columns=str)


def _unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"names.table must be a file that exists; got {path}. Check the path."
    reason = getattr(error, "strerror", None) or f"{error}".strip().partition("\n")[0]
    return (
        f"names.table must be a readable table (.csv, .tsv, .xlsx or .gmt); got {path} ({reason})."
    )


def _column(columns: Mapping[str, str], names: Collection[str]) -> str | None:
    return next((columns[name] for name in names if name in columns), None)


def _plain(text: str) -> str:
    """Return a text in lower case, without spaces and signs."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _genes_of(text: str) -> tuple[str, ...]:
    """Return the genes of one or of a list, in any of the brackets that tables have."""
    genes = (gene.strip() for gene in re.split(r"[,;|]", re.sub(r"[\[\](){}\"]", "", text)))
    return tuple(gene for gene in genes if gene and gene.lower() not in ("na", "nan"))


def _species_of(text: str) -> str:
    return _SPECIES_NAMES.get(_plain(text), _plain(text))


def _species_in(text: str) -> tuple[str, ...]:
    """Return the species of a row: "Hs", "Mm Hs", "Homo sapiens", "Human"."""
    whole = _species_of(text)
    if whole in _SPECIES_NAMES.values():
        return (whole,)
    return tuple(_species_of(part) for part in text.split())


def _none_kept(path: Path, rows: list[_Row], tissues: Collection[str], species: str | None) -> str:
    asked = " and ".join(
        [*([", ".join(tissues)] if tissues else []), *([species] if species else [])]
    )
    there = sorted({row.tissue for row in rows if row.tissue})
    kinds = sorted({each for row in rows for each in row.species})
    return (
        f"names.table must have rows of {asked}; {path} has none. Tissues there: "
        f"{', '.join(there[:20]) or 'none named'}; species: {', '.join(kinds) or 'none named'}."
    )
