"""Which files make one mtx input: the matrix, and the names of its genes and cells.

Programs that count reads name them differently, and archives put the name of the sample in front. A file of names is
the one with the same text in front as the matrix has, else the one with none. Else it is the only one of its kind in
the folder: samples may share the names of their genes, but not those of their cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scrcl._warnings import logger_of
from scrcl.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MtxFiles", "files_of", "matrices_in"]

_log = logger_of(__name__)


class _Naming(NamedTuple):
    """How a program names its files, without .gz; text may stand in front.

    Parameters
    ----------
    matrices, genes, cells
        Names, the preferred one first.
    symbols
        Symbols of the genes, where the other file has their ids alone.
    rows_are_cells
        Whether the rows of the matrix are cells. Only for matrices with as many genes as cells.
    """

    matrices: tuple[str, ...]
    genes: tuple[str, ...]
    cells: tuple[str, ...]
    symbols: str | None = None
    rows_are_cells: bool = False


_NAMINGS = (
    _Naming(
        matrices=("cells_x_genes.mtx",),
        genes=("cells_x_genes.genes.txt",),
        cells=("cells_x_genes.barcodes.txt",),
        symbols="cells_x_genes.genes.names.txt",
        rows_are_cells=True,
    ),
    _Naming(
        matrices=("quants_mat.mtx",),
        genes=("quants_mat_cols.txt",),
        cells=("quants_mat_rows.txt",),
        rows_are_cells=True,
    ),
    _Naming(
        matrices=("count_matrix.mtx", "DGE.mtx"),
        genes=("all_genes.csv",),
        cells=("cell_metadata.csv",),
        rows_are_cells=True,
    ),
    _Naming(matrices=("matrix.mtx",), genes=("features.tsv", "genes.tsv"), cells=("barcodes.tsv",)),
)
"""kallisto, alevin-fry, Parse, and Cell Ranger with all that write as it does."""


class MtxFiles(NamedTuple):
    """The files of one input; see `_Naming`."""

    matrix: Path
    genes: Path
    cells: Path
    symbols: Path | None
    rows_are_cells: bool


def matrices_in(folder: Path) -> list[Path]:
    """Return the matrices of a folder: ``matrix.mtx``, gzipped or not, if it is there; else all."""
    plain = _named(folder, "matrix.mtx")
    if plain:
        return plain[:1]
    found = {p.name.removesuffix(".gz"): p for p in sorted(folder.glob("*.mtx.gz")) if p.is_file()}
    found |= {p.name: p for p in sorted(folder.glob("*.mtx")) if p.is_file()}
    return [found[name] for name in sorted(found)]


def files_of(path: Path) -> MtxFiles:
    """Return the files of the input at ``path``, a folder with one matrix or the matrix itself.

    A warning names files that are there twice, gzipped and not, or under two names.

    Raises
    ------
    StoreError
        Names of genes or cells are missing.
    """
    matrix = path if path.is_file() else matrices_in(path)[0]
    folder, name = matrix.parent, matrix.name.removesuffix(".gz")
    if path.is_dir():
        _warn_of_others(folder, _named(folder, name))
    own = next((each for each in _NAMINGS if _front(name, each) is not None), _NAMINGS[-1])
    for naming in (own, *_NAMINGS):
        front = _front(name, naming) or ""
        genes = _beside(folder, front, naming.genes) or _only(folder, naming.genes)
        cells = _beside(folder, front, naming.cells)
        if cells is None and len(matrices_in(folder)) == 1:
            cells = _only(folder, naming.cells)
        if genes and cells:
            symbols = _beside(folder, front, (naming.symbols,)) if naming.symbols else None
            return MtxFiles(matrix, genes, cells, symbols, naming.rows_are_cells)
    front = _front(name, own) or ""
    lacks_genes = not (_beside(folder, front, own.genes) or _only(folder, own.genes))
    missing = own.genes if lacks_genes else own.cells
    message = (
        f"{folder} must hold {' or '.join(front + each for each in missing)} (or .gz) next to {matrix.name}, with the "
        f"names of its {'genes' if lacks_genes else 'cells'}; it does not. Copy or download all files of the matrix."
    )
    raise StoreError(message)


def _front(name: str, naming: _Naming) -> str | None:
    """Return what stands in front of the usual name of a matrix; None if it is named otherwise."""
    usual = next((each for each in naming.matrices if name.endswith(each)), None)
    return None if usual is None else name.removesuffix(usual)


def _beside(folder: Path, front: str, names: tuple[str, ...]) -> Path | None:
    """Return the file of names with some text in front, or else with none. A warning names others like it."""
    for each in dict.fromkeys((front, "")):
        found = [path for name in names for path in _named(folder, each + name)]
        if found:
            _warn_of_others(folder, found)
            return found[0]
    return None


def _only(folder: Path, names: tuple[str, ...]) -> Path | None:
    """Return the file of names, whatever stands in front, if the folder has one."""
    endings = tuple(end for name in names for end in (name, f"{name}.gz"))
    found = [path for path in sorted(folder.iterdir()) if path.name.endswith(endings)]
    return found[0] if len({path.name.removesuffix(".gz") for path in found}) == 1 else None


def _named(folder: Path, name: str) -> list[Path]:
    return [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]


def _warn_of_others(folder: Path, found: list[Path]) -> None:
    if len(found) > 1:
        others = ", ".join(path.name for path in found[1:])
        _log.warning("%s: %s is read, and %s is not", folder, found[0].name, others)
