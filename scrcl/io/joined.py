"""What several inputs hold besides their tables, as one: obsm that all have, tissue images, and layers and raw.

Everything is written in blocks of rows. Slots that only some inputs have, or that are no slots of cells, are left out
with a warning.
"""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
from anndata.io import read_elem, sparse_dataset, write_elem
from scipy import sparse

from scrcl._warnings import logger_of
from scrcl.errors import InputError
from scrcl.io.attributes import text_attribute
from scrcl.io.copying import copy_arrays, copy_table, is_table
from scrcl.io.left_out import left_out_if_faulty
from scrcl.io.results import storable
from scrcl.io.rows import rows_from_reader
from scrcl.io.slots import copy_images, element_of, keys_of, named_rows, row_names
from scrcl.io.stored_dtype import exact_x

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.io.matrix import CellMatrix
    from scrcl.io.slots import Kept
    from scrcl.typing import IntArray

__all__ = ["copy_joined", "shared_obsm", "write_other_layers", "x_of"]

_BLOCK_ROWS = 4096
_NOT_KEPT = ("varm", "varp", "obsp", "uns")

_log = logger_of(__name__)


def copy_joined(parts: Sequence[Kept], target: Any, *, label: str) -> None:
    """Copy obsm that all inputs have, one below the other, and their tissue images.

    Parameters
    ----------
    parts
        What of each input is kept, in the order of the cells.
    target
        Root group of the result, open for writing.
    label
        Name of the joined inputs, for warnings.
    """
    copy_images([part.source for part in parts], target)
    keys = [keys_of(part.source, "obsm") for part in parts]
    shared = shared_obsm([part.source for part in parts])
    lost = [f"obsm/{key}" for key in dict.fromkeys(chain(*keys)) if key not in shared]
    if lost:
        _log.warning(
            "%s: not kept, as only some of the inputs have them: %s", label, ", ".join(lost)
        )
    own = [
        f"{slot}/{key}"
        for slot in _NOT_KEPT
        for key in dict.fromkeys(chain(*(keys_of(part.source, slot) for part in parts)))
        if (slot, key) != ("uns", "spatial")
    ]
    if own:
        _log.warning("%s: not kept, as each input has its own: %s", label, ", ".join(own))
    group = target.require_group("obsm")
    for key in shared:
        if key in group:  # the run's own
            continue
        with left_out_if_faulty(group, key, name=f"obsm/{key}", label=label):
            _copy_below(parts, key, group, target)


def shared_obsm(sources: Sequence[Any]) -> list[str]:
    """Return the keys of obsm that all inputs have, in the order of the first."""
    first, *others = (keys_of(source, "obsm") for source in sources)
    return [key for key in first if all(key in keys for keys in others)]


def _copy_below(parts: Sequence[Kept], key: str, group: Any, target: Any) -> None:
    elements = [element_of(part.source, "obsm")[key] for part in parts]
    if all(map(is_table, elements)):
        rows = [
            named_rows(part, element, f"obsm/{key}")
            for part, element in zip(parts, elements, strict=True)
        ]
        copy_table(
            list(zip(elements, rows, strict=True)),
            group,
            key,
            row_names(target["obs"], "obs", "the result"),
        )
    elif all(hasattr(element, "ndim") and not sparse.issparse(element) for element in elements):
        copy_arrays([(e, part.rows) for e, part in zip(elements, parts, strict=True)], group, key)
    else:
        blocks = [_sparse_rows(e)[part.rows] for e, part in zip(elements, parts, strict=True)]
        if len({block.shape[1] for block in blocks}) > 1:
            message = f"it has {' and '.join(str(block.shape[1]) for block in blocks)} columns"
            raise ValueError(message)
        _write_blocks(group, key, da.concatenate(blocks), np.result_type(*map(_dtype, elements)))


def _dtype(element: Any) -> np.dtype[Any]:
    found: np.dtype[Any] = (element if hasattr(element, "dtype") else element["data"]).dtype
    return found


def _sparse_rows(element: Any) -> da.Array:
    """Return the rows of a sparse matrix in blocks. One that is stored by columns is read whole."""
    if not sparse.issparse(element):
        by_rows = text_attribute(element, "encoding-type") == "csr_matrix"
        element = sparse_dataset(element) if by_rows else read_elem(element)
    rows = element.tocsr() if sparse.issparse(element) else element
    return rows_from_reader(
        lambda start, stop: sparse.csr_matrix(rows[start:stop]),
        shape=rows.shape,
        block_rows=_BLOCK_ROWS,
    )


def write_other_layers(
    matrix: CellMatrix, rows: IntArray, target: Any, *, layer: str | None, block_rows: int
) -> None:
    """Write the layers and raw that all inputs have, on the genes of the result. A warning names those of other genes.

    Parameters
    ----------
    matrix
        The inputs, of which ``layer`` was read.
    rows
        Positions of the cells that are kept.
    target
        Root group of the result, open for writing.
    """
    has_x, lost = x_of(matrix, layer) is not None, []
    if not has_x:
        lost.append("X")
    for name in matrix.layers if has_x or layer != "raw" else ():
        try:
            other = matrix.open_layer(name)
        except InputError as error:
            _log.warning("%s: layer %s is left out. %s", matrix.label, name, error)
            continue
        x = exact_x(other, block_rows)[rows]
        if name == "raw":
            if "raw" in target:
                del target["raw"]  # says that there is none
            raw = target.create_group("raw")
            raw.attrs.update({"encoding-type": "raw", "encoding-version": "0.1.0"})
            write_elem(raw, "var", storable(other.var))
            write_elem(raw, "varm", {})
            _write_blocks(raw, "X", x, other.dtype)
        elif other.var.index.equals(matrix.var.index):
            _write_blocks(target.require_group("layers"), name, x, other.dtype)
        else:
            lost.append(f"layers/{name}")
    if layer == "raw" and not has_x:
        lost += [f"layers/{name}" for name in matrix.layers if name != "raw"]
    if lost:
        _log.warning(
            "%s: not kept, as the result has other genes: %s", matrix.label, ", ".join(lost)
        )


def x_of(matrix: CellMatrix, layer: str | None) -> CellMatrix | None:
    """Return X of the inputs of which ``layer`` was read; None if it has other genes, or they have none."""
    if layer is None:
        return matrix
    try:
        x = matrix.open_layer(None)
    except InputError:
        return None
    return x if x.var.index.equals(matrix.var.index) else None


def _write_blocks(group: Any, name: str, x: da.Array, dtype: np.dtype[Any]) -> None:
    """Write row blocks of CSR in one dtype: those of samples may differ."""
    whole = x.map_blocks(
        partial(_as_type, dtype=dtype), dtype=dtype, meta=sparse.csr_matrix((0, 0), dtype=dtype)
    )
    with dask.config.set(scheduler="synchronous"):
        write_elem(group, name, whole)


def _as_type(block: Any, dtype: np.dtype[Any]) -> Any:
    return sparse.csr_matrix(block).astype(dtype, copy=False)
