"""Add the keys of a finished run to the Zarr store that it read."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl import __version__
from scrcl.engine.annotate import by_gene, merged_keys, spread, spread_pairs, without_ours
from scrcl.engine.arguments import checked
from scrcl.engine.disk import naming_full_disk, require_room
from scrcl.engine.fingerprint import fingerprint_of
from scrcl.engine.input_again import input_paths_of, require_same
from scrcl.engine.lock import hold
from scrcl.engine.open_run import open_run
from scrcl.engine.paths import moved_paths, open_files
from scrcl.engine.results import about_run, keys_of_input
from scrcl.errors import InputError
from scrcl.io.exchange import exchanged, put_back
from scrcl.io.identity import content_of, file_identity
from scrcl.prep.artifacts import STATS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import dask.array as da
    import pandas as pd

    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stage import AnnDataKeys
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import BoolArray, Csr

__all__ = ["write_back"]

_METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray", ".zmetadata")
"""Files of a Zarr store that are written into; chunks are only added and deleted."""

_BLOCK_ROWS = 65_536
_LOCK = ".lock"


@checked
def write_back(out: str | Path, *, inputs: Sequence[str | Path] = ()) -> Path:
    """Add what a finished run found to the Zarr store that it read, under the keys of the result.

    X and all else that the store holds stay as they are. Keys of an earlier run are replaced; a key of the user with
    the same name is kept, and that of the run gets the suffix ``_scrcl``. The store changes in one step: a process
    that is killed leaves it as it was. Cells without a cluster have missing values.

    Parameters
    ----------
    out
        Output folder of the run. It notes that the store has changed, so that it still knows it.
    inputs
        Where the input of the run is now, if it was moved.

    Returns
    -------
    Path
        The store.

    Raises
    ------
    InputError
        The input is no Zarr store of AnnData, or the run joined several.
    ResumeError
        The store has changed since the run, or another process uses the run.
    StoreError
        The store cannot be written.

    Examples
    --------
    >>> import anndata, scrcl  # doctest: +SKIP
    >>> anndata.read_zarr(scrcl.write_back("out/")).obs["scrcl"]  # doctest: +SKIP
    """
    run = open_run(out)
    for path in moved_paths(inputs) or run.manifest.get("inputs", ()):
        put_back(Path(path).resolve())
    store = _store(run, inputs)
    lock = hold(run.path / _LOCK, run.path)
    try:
        matrix = _same(run, store)
        keys = _keys(run, matrix)
        require_room(store.parent, _bytes(keys, matrix), "the keys in the store")
        with (
            naming_full_disk(store.parent),
            exchanged(store, written_in_place=_METADATA) as copy,
        ):
            _write(copy, run, keys, matrix)
            # Noted before the store changes, so that the run knows it whenever the process ends.
            run.manifest["written_back"] = _content(copy, matrix)
            run.folder.save()
        _attach(run)
    finally:
        lock.release()
    return store


def _store(run: OpenRun, inputs: Sequence[str | Path]) -> Path:
    """Return the store of the run."""
    paths = input_paths_of(run, inputs)
    if len(paths) > 1:
        message = (
            f"write-back must have one store to write to; the run joined {len(paths)} inputs. "
            "Write a new one by `scrcl.export`."
        )
        raise InputError(message)
    path = paths[0].resolve()
    if not path.is_dir() or not any((path / name).exists() for name in (".zgroup", "zarr.json")):
        message = f"write-back must have a Zarr store as input; got {path}. `scrcl.export` writes a file with the keys."
        raise InputError(message)
    return path


def _content(copy: Path, matrix: CellMatrix) -> dict[str, Any]:
    """Return the identity by which the run will recognize the store."""
    before = matrix.identity
    rows, columns = before["shape"]
    return {
        **content_of(before),
        **content_of(file_identity(copy, shape=(rows, columns), layer=before["layer"])),
    }


def _same(run: OpenRun, store: Path) -> CellMatrix:
    """Open the store, which must be as the run read it, or as an earlier call that was killed at its end left it."""
    matrix = open_files([store], run.config, run.folder.stage(run.stages[0].name))
    content = content_of(matrix.identity)
    if content == run.manifest.get("written_back"):
        _attach(run)
    return require_same(run, matrix)


def _attach(run: OpenRun) -> None:
    """Make the run recognize the store with its own keys, so that the same commands still resume it."""
    settings = run.manifest["settings"]
    settings["input"] = run.manifest.pop("written_back")
    run.manifest["fingerprint"] = fingerprint_of(__version__, settings)
    run.folder.save()


def _keys(run: OpenRun, matrix: CellMatrix) -> AnnDataKeys:
    """Return the keys of the run for all cells of the store."""
    keys = merged_keys(run, run.finished, keys_of_input(matrix, run.config))
    retained = run.open(STATS).retained
    rows, n = np.flatnonzero(retained), len(retained)
    obs = {key: spread(column, rows, n) for key, column in keys.obs.items()}
    return replace(
        keys,
        obs=obs,
        obsm={key: _rows_of_all(array, retained) for key, array in keys.obsm.items()},
        obsp={key: _pairs_of_all(pairs, retained) for key, pairs in keys.obsp.items()},
        uns={},
        uns_other={**keys.uns_other, "scrcl": about_run(run.manifest, run.config, keys)},
    )


def _rows_of_all(array: Any, retained: BoolArray) -> Any:
    """Return rows for all cells in blocks; NaN where a cell was left out."""
    import dask.array as da

    before = np.concatenate([[0], np.cumsum(retained)])

    def block(block_info: Any = None) -> np.ndarray:
        start, stop = block_info[None]["array-location"][0]
        rows = np.full((stop - start, array.shape[1]), np.nan, np.float32)
        rows[retained[start:stop]] = array[before[start] : before[stop]]
        return rows

    shape = (len(retained), array.shape[1])
    return da.map_blocks(
        block,
        chunks=da.core.normalize_chunks((_BLOCK_ROWS, -1), shape=shape, dtype=np.float32),
        dtype=np.float32,
        meta=np.empty((0, 0), np.float32),
    )


def _pairs_of_all(pairs: Csr | da.Array, retained: BoolArray) -> Csr | da.Array:
    """Return a matrix of cells by cells for all cells in blocks; empty rows where a cell was left out."""
    from scrcl.io.results import pairs_in_blocks

    n, place = len(retained), np.flatnonzero(retained)
    before = np.concatenate([[0], np.cumsum(retained)])

    def rows(start: int, stop: int) -> Csr:
        inside = pairs[before[start] : before[stop]]
        inside = inside.compute() if hasattr(inside, "compute") else inside
        return spread_pairs(inside, retained[start:stop], place, n)

    stored = pairs.nnz if hasattr(pairs, "nnz") else n * 100
    return pairs_in_blocks(rows, n, stored)


def _write(path: Path, run: OpenRun, keys: AnnDataKeys, matrix: CellMatrix) -> None:
    """Write the keys into the copy of the store."""
    import dask
    import zarr

    root = zarr.open_group(path, mode="r+", use_consolidated=False)
    consolidated = (path / ".zmetadata").exists() or bool(
        zarr.open_group(path, mode="r").metadata.consolidated_metadata
    )
    one_thread = dask.config.set(scheduler="synchronous")
    # Chunks of zeros are written too: a reader could not tell them from lost ones.
    whole_chunks = zarr.config.set({"array.write_empty_chunks": True})
    with warnings.catch_warnings(), one_thread, whole_chunks:
        # They warn of texts in tables, which anndata writes correctly, and of consolidated metadata.
        warnings.filterwarnings("ignore", category=UserWarning)
        warnings.filterwarnings("ignore", category=zarr.errors.UnstableSpecificationWarning)
        _remove_earlier(root, run, matrix)
        _write_columns(root["obs"], keys.obs)
        if run.config.layer != "raw":
            genes = _genes_of(root, matrix)
            _write_columns(root["var"], _of_genes(keys.var, matrix, genes))
            _write_entries(root, "varm", _of_genes(keys.varm, matrix, genes))
        _write_entries(root, "obsm", keys.obsm)
        _write_entries(root, "obsp", keys.obsp)
        _write_entries(root, "uns", keys.uns_other)
        if consolidated:
            zarr.consolidate_metadata(zarr.storage.LocalStore(path))


def _of_genes(entries: Mapping[str, Any], matrix: CellMatrix, genes: pd.Index) -> dict[str, Any]:
    """Return values of the genes of the run for all ``genes`` of the store."""
    names = matrix.var.index
    return {key: by_gene(np.asarray(values), names, genes) for key, values in entries.items()}


def _remove_earlier(root: Any, run: OpenRun, matrix: CellMatrix) -> None:
    """Remove what an earlier run wrote into the store."""
    from scrcl.io.slots import earlier_keys

    earlier = {slot: earlier_keys(root, slot) for slot in ("var", "obsm", "varm", "uns")}
    kept = set(map(str, without_ours(matrix.obs, run.stages)))
    earlier["obs"] = {str(name) for name in matrix.obs} - kept
    earlier["obsp"] = {key for key in root.get("obsp", {}) if key.startswith("scrcl_")}
    earlier["uns"].add("scrcl")
    for slot, names in earlier.items():
        if slot not in root:
            continue
        for name in names & set(root[slot].keys()):
            del root[slot][name]
        if slot in ("obs", "var"):
            order = [name for name in root[slot].attrs["column-order"] if name not in names]
            root[slot].attrs["column-order"] = order


def _write_columns(table: Any, columns: Any) -> None:
    """Write columns of a table, and their names into its order."""
    from anndata.io import write_elem

    for name, values in columns.items():
        write_elem(table, name, values)
    table.attrs["column-order"] = [*table.attrs["column-order"], *columns]


def _write_entries(root: Any, slot: str, entries: Any) -> None:
    """Write entries of a slot; a key of the store that has our name is replaced."""
    from anndata.io import write_elem

    if slot not in root:
        write_elem(root, slot, {})
    for name, values in entries.items():
        if name in root[slot]:
            del root[slot][name]
        write_elem(root[slot], name, values)


def _genes_of(root: Any, matrix: CellMatrix) -> pd.Index:
    """Return the names of all features of the store; those that the run left out are not among those of the run."""
    import pandas as pd

    from scrcl.io.slots import row_names

    names = row_names(root["var"], "var", matrix.label)
    left_out = np.asarray(names.isin(list(matrix.left_out)))
    unique = np.array(names, object)
    unique[~left_out] = matrix.var.index
    unique[left_out] = [f"\0{i}" for i in range(int(left_out.sum()))]
    return pd.Index(unique)


def _bytes(keys: AnnDataKeys, matrix: CellMatrix) -> int:
    """Return about how many bytes the keys take."""
    n = matrix.n_obs
    embeddings = sum(4 * n * int(array.shape[1]) for array in keys.obsm.values())
    return embeddings + 12 * keys.n_pairs + 16 * n * (1 + len(keys.obs)) + 200 * matrix.n_vars
