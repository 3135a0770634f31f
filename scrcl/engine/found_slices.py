"""Slices of a tissue that the input itself shows, where no setting names them.

Files that are joined are samples of their own, each with its own origin of the coordinates. A file that was joined
before tells its slices by the libraries of its images: ``uns["spatial"]`` has an entry for each, and a column of obs
has their names, as scanpy and squidpy write them. In one coordinate system, spots of two slides would be neighbours. So
slices are the default, and that the inputs share one system is for the user to say (``one_tissue``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from scrcl.engine.config import RunConfig
    from scrcl.io.matrix import CellMatrix

__all__ = ["OF_FILES", "FoundSlices", "files_of", "with_slices"]

OF_FILES = "sample"
"""Column of obs with the file of each cell, which a join adds."""

_USUAL = "library_id"
_MOST_LEVELS = 10_000


class FoundSlices(NamedTuple):
    """Settings with the slices of the input, and what the user should know about them."""

    config: RunConfig
    notes: tuple[str, ...] = ()


def with_slices(config: RunConfig, matrix: CellMatrix) -> FoundSlices:
    """Return the settings with ``sample_key`` where the input shows slices and none are named.

    Slices are the batches too, as with a ``sample_key`` that is given.
    """
    if not config.spatial or config.sample_key is not None or config.one_tissue:
        return FoundSlices(config)
    obs = matrix.fresh_obs()
    n_files = files_of(matrix)
    libraries = _libraries(matrix, obs)
    key = _column_of(libraries, obs, within=OF_FILES if n_files > 1 else None)
    if key is not None:
        what = f"The {obs[key].nunique():,} values of obs[{key!r}] are libraries of uns['spatial'], and are"
    elif n_files > 1:
        key, what = OF_FILES, f"The {n_files:,} inputs are"
    elif len(libraries) > 1:
        return FoundSlices(config, (_unnamed(libraries),))
    else:
        return FoundSlices(config)
    note = (
        f"{what} taken for slices (`sample_key={key!r}`): cells of different slices are never neighbours. If all share "
        "one coordinate system, run again into another folder with `one_tissue=True`."
    )
    batches = key if config.batch_key is None else config.batch_key
    return FoundSlices(config.model_copy(update={"sample_key": key, "batch_key": batches}), (note,))


def _unnamed(libraries: set[str]) -> str:
    return (
        f"uns['spatial'] has {len(libraries):,} libraries, and no column of obs names them. If they are slices, name "
        "their column by `sample_key`."
    )


def files_of(matrix: CellMatrix) -> int:
    """Return how many files the cells are of: those that are joined now, or that a store was converted from."""
    from scrcl.io.slots import element_of
    from scrcl.io.store import ORIGIN

    if "samples" in matrix.identity:
        return len(matrix.identity["samples"])
    for source in matrix.sources:
        with source() as held:
            origin = _entry(element_of(held, "uns"), ORIGIN)
            if origin is not None and str(_value(origin["join"])) != "none":
                return int(np.size(_value(origin["sources"])))
    return 1


def _libraries(matrix: CellMatrix, obs: pd.DataFrame) -> set[str]:
    """Return the libraries with images. Folders of a program have one each, and no column that could name them."""
    from scrcl.io.tissue_images import libraries_of

    found: set[str] = set()
    if not _candidates(obs):
        return found
    for source in matrix.sources:
        with source() as held:
            found |= set(libraries_of(held))
    return found


def _column_of(libraries: set[str], obs: pd.DataFrame, *, within: str | None) -> str | None:
    """Return the column whose values are libraries; ``within``: only if it divides these samples further."""
    if len(libraries) < 2:
        return None
    for name in sorted(_candidates(obs), key=lambda name: name != _USUAL):
        if name == within or not set(map(str, obs[name].unique())) <= libraries:
            continue
        if within is None:
            return name
        of_one = obs.groupby(name, observed=True)[within].nunique() == 1
        if of_one.all() and len(of_one) > obs[within].nunique():
            return name
    return None


def _candidates(obs: pd.DataFrame) -> list[str]:
    """Return the columns of texts or categories that several cells share."""
    import pandas as pd

    found = []
    for name in map(str, obs.columns):
        column = obs[name]
        is_text = isinstance(column.dtype, pd.CategoricalDtype) or column.dtype.kind == "O"
        if is_text and not column.isna().any() and 1 < column.nunique() <= _MOST_LEVELS:
            found.append(name)
    return found


def _entry(held: Any, key: str) -> Any:
    return held[key] if hasattr(held, "keys") and key in held else None


def _value(element: Any) -> Any:
    """Return what an element of a store or of a mapping in memory holds."""
    from anndata.io import read_elem

    return read_elem(element) if hasattr(element, "attrs") else element
