"""Which rows of an input a conversion writes, and in which order.

A finished run leaves ``stages/report/order.npz``: the rows of its retained cells in the input, near cells together. The
file also holds the number of rows and a hash of the names of all cells, so it fits only the cells that were clustered.
"""

from __future__ import annotations

import hashlib
import zipfile
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scrcl._warnings import logger_of
from scrcl.engine.arguments import shown
from scrcl.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from scrcl._progress import Reporter
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import IntArray

__all__ = ["ORDER", "read_order", "write_order"]

ORDER = "order.npz"
"""Name of the file in the folder of the last stage."""

_IN_RUN = Path("stages") / "report" / ORDER
_HASHED_NAMES = 65_536

_log = logger_of(__name__)


def write_order(path: Path, rows: IntArray, cells: pd.Index) -> None:
    """Write an order of rows, with the number of rows of the input and a hash of the names of its cells.

    Parameters
    ----------
    path
        The ``.npz`` file.
    rows
        Row numbers of the input: ndarray of int, shape (n_retained,).
    cells
        Names of all cells of the input.
    """
    np.savez(path, rows=rows, n_rows=len(cells), cells=_hash_of(cells))


def read_order(
    order: str | Path | IntArray | None, matrix: CellMatrix, reporter: Reporter
) -> IntArray | None:
    """Return row numbers of ``matrix``, and report how many of its rows these are.

    Parameters
    ----------
    order
        An array of row numbers or of names of cells; a file of them, ``.npy`` or text with one on each line; the folder
        of a finished run, or its ``order.npz``; or a column of obs to sort by. Equal rows keep their order, missing
        values come last.

    Raises
    ------
    InputError
        The order is none of these, does not belong to these cells, or could be read in two ways.
    """
    if order is None:
        return None
    if not isinstance(order, str | PathLike):
        rows = _rows_of_array(_as_array(order), matrix, "the array")
    elif str(order) in matrix.obs:
        import pandas as pd

        codes, _ = pd.factorize(matrix.obs[str(order)], sort=True)
        last = np.where(codes < 0, len(codes), codes)
        return np.argsort(last, kind="stable")
    else:
        rows = _read_file(_file_of(Path(order), matrix), matrix)
    from scrcl.io.reorder import checked_order

    rows = checked_order(rows, matrix.n_obs)
    text = f"order has {len(rows):,} of {matrix.n_obs:,} rows."
    if len(rows) < matrix.n_obs:
        _log.warning("%s The other cells are left out.", text)
    else:
        reporter.note(text)
    return rows


def _file_of(path: Path, matrix: CellMatrix) -> Path:
    if (path / _IN_RUN).is_file():
        return path / _IN_RUN
    if path.is_file():
        run = next((folder for folder in path.resolve().parents if _is_run(folder)), None)
        if run is not None and path.name != ORDER:
            message = (
                f"order must have row numbers of the input; got {path}, whose numbers count the retained cells "
                f"of a run. Give the folder of the run, {run}."
            )
            raise InputError(message)
        return path
    if _is_run(path):
        message = (
            f"order must be a finished run; got {path}, which has no {_IN_RUN}. Run it to the end."
        )
        raise InputError(message)
    columns = ", ".join(map(str, matrix.obs.columns)) or "none"
    message = (
        "order must be a file of row numbers or names of cells, the folder of a run, or a column of obs; "
        f"got {path}. Columns of obs: {columns}."
    )
    raise InputError(message)


def _is_run(folder: Path) -> bool:
    return (folder / "run.json").is_file()


def _read_file(path: Path, matrix: CellMatrix) -> IntArray:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as saved:
                return _rows_of_run(path, dict(saved), matrix)
        if path.suffix == ".npy":
            return _rows_of_array(np.load(path, allow_pickle=False), matrix, str(path))
        return _rows_of_text(path, path.read_text("utf-8-sig"), matrix)
    except InputError:
        raise
    except (OSError, EOFError, KeyError, OverflowError, ValueError, zipfile.BadZipFile) as error:
        message = (
            "order must be a text file with a row number or a name of a cell on each line, .npy, or the "
            f"{ORDER} of a run; got {path} ({error})."
        )
        raise InputError(message) from error


def _rows_of_run(path: Path, saved: dict[str, np.ndarray], matrix: CellMatrix) -> IntArray:
    n_rows = int(saved["n_rows"])
    if n_rows != matrix.n_obs or str(saved["cells"]) != _hash_of(matrix.obs.index):
        message = (
            f"order must be of a run of the same cells, in the same order; got {path}, from a run of {n_rows:,} cells "
            f"with other names. {matrix.label} has {matrix.n_obs:,}. Give the input of that run, or another order."
        )
        raise InputError(message)
    return saved["rows"]


def _as_array(order: object) -> np.ndarray:
    """Return row numbers or names that are an array, a list, or a column of a table."""
    rows = np.asarray(order)
    if rows.ndim != 1 or isinstance(order, bytes):
        message = f"order must be row numbers or names of cells, a file, or a column of obs; got {shown(order)}."
        raise InputError(message)
    return rows


def _rows_of_array(order: np.ndarray, matrix: CellMatrix, where: str) -> IntArray:
    if order.dtype.kind in "UTO" and order.ndim == 1:
        import pandas as pd

        return _by_name(pd.Index(order.astype(str)), matrix, where)
    return order


def _rows_of_text(path: Path, text: str, matrix: CellMatrix) -> IntArray:
    """Return the rows of names, or of row numbers. Lines that could be both are refused, unless they mean the same."""
    import pandas as pd

    lines = [line.strip() for line in text.rstrip().split("\n")]
    if "" in lines:
        empty = lines.index("") + 1
        message = f"order must have a row number or a name on each line; got none in line {empty} of {path}."
        raise InputError(message)
    cells = pd.Index(lines)
    numbers = np.array([_whole(line) for line in lines], dtype=object)
    are_numbers = bool(all(number is not None for number in numbers))
    if not cells.isin(matrix.obs.index).all():
        return numbers.astype(np.int64) if are_numbers else _by_name(cells, matrix, str(path))
    rows = _by_name(cells, matrix, str(path))
    in_range = are_numbers and all(0 <= number < matrix.n_obs for number in numbers)
    if in_range and not np.array_equal(rows, numbers.astype(np.int64)):
        at = int(np.flatnonzero(rows != numbers)[0])
        message = (
            f"order must have one meaning; line {at + 1} of {path}, {lines[at]}, is the name of the cell in row "
            f"{rows[at]:,}, and could be row {lines[at]}. Give them as .npy: integers for row numbers, text for names."
        )
        raise InputError(message)
    return rows


def _whole(text: str) -> int | None:
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None


def _by_name(names: pd.Index, matrix: CellMatrix, where: str) -> IntArray:
    rows = matrix.obs.index.get_indexer(names)
    if (rows < 0).any():
        at = int(np.flatnonzero(rows < 0)[0])
        message = (
            f"order must name cells of the input, or have row numbers only; got {names[at]!r} in line {at + 1} of "
            f"{where}, which is neither. The first cell of {matrix.label} is {matrix.obs.index[0]!r}."
        )
        raise InputError(message)
    found: IntArray = rows.astype(np.int64)
    return found


def _hash_of(cells: pd.Index) -> str:
    """Return a hash of names in their order, computed a piece at a time."""
    hashed = hashlib.blake2b(digest_size=16)
    for start in range(0, len(cells), _HASHED_NAMES):
        for name in cells[start : start + _HASHED_NAMES]:
            hashed.update(f"{name}\0".encode(errors="surrogatepass"))
    return hashed.hexdigest()
