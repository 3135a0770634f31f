"""Keys of a run in the user's own store: X stays, the user's keys stay, and a killed process changes nothing."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import warnings

import anndata
import numpy as np
import pytest
import zarr
from anndata import settings as anndata_settings
from scipy import sparse

import scrcl
from scrcl.engine.folder import read_manifest
from scrcl.engine.load_config import load_config
from scrcl.engine.run import run_files
from scrcl.errors import InputError, ResumeError, StoreError
from tests.cells import FAST, make_cells

EMPTY = 5
ONE_FORMAT = pytest.mark.parametrize("made", [3], indirect=True)


def cells():
    adata = make_cells()
    has_counts = (np.arange(240) != EMPTY).astype(np.float32)
    adata.X = sparse.csr_matrix(sparse.diags(has_counts) @ adata.X)
    adata.obsm["X_pca"] = np.ones((240, 2))
    adata.uns["pca"] = {"mine": 1}
    adata.var["n_cells_by_counts"] = "mine"
    adata.obs["scrcl_note"] = ["mine", "mine too"] * 120
    return adata


def write_store(adata, path, version):
    with warnings.catch_warnings(), anndata_settings.override(zarr_write_format=version):
        warnings.simplefilter("ignore")
        adata.write_zarr(path)


@pytest.fixture(scope="module", params=[2, 3])
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("back")
    write_store(cells(), folder / "cells.zarr", request.param)
    more = {"n_clusters": 4, "device": "cpu"}
    config = load_config(overrides={**FAST, **more})
    run_files([folder / "cells.zarr"], folder / "out", config)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path / "there")
    return tmp_path / "there"


def write_back(folder):
    return scrcl.write_back(folder / "out", inputs=[folder / "cells.zarr"])


def files_of(folder):
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def bytes_of(folder):
    return {name: content for name, (_, content) in files_of(folder).items()}


def is_whole(store, result):
    """Return whether the store holds what the result does, and what it held before."""
    adata, before = anndata.read_zarr(store), cells()
    assert np.array_equal(adata.X.toarray(), before.X.toarray())
    there = np.arange(240) != EMPTY
    for key in [key for key in result.obs if key.startswith("scrcl") and key != "scrcl_note"]:
        assert adata.obs[key][there].tolist() == result.obs[key].tolist()
        assert adata.obs[key].isna().iloc[EMPTY]
    for key in result.uns["scrcl"]["obsm_keys"]:
        assert np.array_equal(adata.obsm[key][there], result.obsm[key])
        assert np.isnan(adata.obsm[key][EMPTY]).all()
    for key in result.obsp:
        found = adata.obsp[key].tocsr()
        assert (found[there][:, there] != result.obsp[key]).nnz == 0
        assert found[EMPTY].nnz == 0
    assert adata.var["highly_variable"].equals(result.var["highly_variable"])
    for key in result.uns["scrcl"]["varm_keys"]:
        assert np.array_equal(adata.varm[key], result.varm[key])
    ours, theirs = adata.uns["scrcl"]["markers"], result.uns["scrcl"]["markers"]
    assert ours["gene"].tolist() == theirs["gene"].tolist()
    assert set(result.uns["scrcl"]["uns_keys"]) <= set(adata.uns)
    for key in ("cell_type", "scrcl_note"):
        assert adata.obs[key].tolist() == before.obs[key].tolist()
    assert np.array_equal(adata.obsm["X_pca"], before.obsm["X_pca"])
    assert adata.uns["pca"] == {"mine": 1}
    assert set(adata.var["n_cells_by_counts"]) == {"mine"}
    return True


def test_the_store_has_the_keys_of_the_result_and_x_is_not_touched(folder):
    store = folder / "cells.zarr"
    x_before = files_of(store / "X")
    assert write_back(folder) == store
    result = scrcl.open_run(folder / "out").to_anndata()
    assert is_whole(store, result)
    assert "X_pca_scrcl" in result.obsm
    kept = files_of(store / "X")
    metadata = ("zarr.json", ".zattrs", ".zarray", ".zgroup")
    for name, (number, content) in x_before.items():
        assert kept[name][1] == content
        assert kept[name][0] == number or name.endswith(metadata)
    assert kept.keys() == x_before.keys()
    assert sorted(path.name for path in folder.iterdir()) == ["cells.zarr", "out"]
    consolidated = zarr.open_group(store, mode="r").metadata.consolidated_metadata
    assert consolidated is None or "obs/scrcl" in consolidated.flattened_metadata


@ONE_FORMAT
def test_the_run_still_knows_the_store_and_written_keys_are_replaced(folder):
    store = folder / "cells.zarr"
    write_back(folder)
    config = load_config(overrides={**FAST, "n_clusters": 3, "device": "cpu"})
    run_files([store], folder / "out", config, start="cluster")
    write_back(folder)
    result = scrcl.open_run(folder / "out").to_anndata()
    assert result.obs["scrcl"].nunique() == 3
    assert is_whole(store, result)
    order = list(zarr.open_group(store, mode="r")["obs"].attrs["column-order"])
    assert len(set(order)) == len(order)


@pytest.mark.usefixtures("warm")
@ONE_FORMAT
def test_a_killed_process_leaves_the_store_whole(folder, monkeypatch):
    store = folder / "cells.zarr"
    before = bytes_of(store)
    code = textwrap.dedent(
        """
        import os, signal, sys
        import scrcl
        from scrcl.engine import write_back
        write_back._content = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        scrcl.write_back(sys.argv[1], inputs=[sys.argv[2]])
        """
    )
    call = [sys.executable, "-c", code, str(folder / "out"), str(store)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(call, check=False, env=environment).returncode == -signal.SIGKILL
    assert (folder / ".cells.zarr.partial" / "obs" / "scrcl").exists()
    assert bytes_of(store) == before

    def stop(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # the store has the keys, and the run does not know yet
        patch.setattr("scrcl.engine.write_back._attach", stop)
        with pytest.raises(KeyboardInterrupt):
            write_back(folder)
    assert is_whole(store, scrcl.open_run(folder / "out").to_anndata())
    write_back(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["cells.zarr", "out"]
    assert "written_back" not in read_manifest(folder / "out")


@ONE_FORMAT
def test_a_fault_while_keys_are_written_changes_nothing(folder, monkeypatch):
    before = bytes_of(folder)

    def fail(*_):
        raise RuntimeError("no")

    monkeypatch.setattr("scrcl.engine.write_back._write_entries", fail)
    with pytest.raises(RuntimeError, match="no"):
        write_back(folder)
    assert bytes_of(folder) == before


@ONE_FORMAT
def test_systems_that_cannot_exchange_and_file_systems_without_links(folder, monkeypatch):
    def no_links(*_):
        raise OSError(1, "Operation not permitted")

    before = bytes_of(folder)
    with monkeypatch.context() as patch:
        patch.setattr("os.link", no_links)
        with pytest.raises(StoreError, match="hard links; got Operation not permitted"):
            write_back(folder)
    assert bytes_of(folder) == before
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    (folder / "cells.zarr").rename(folder / ".cells.zarr.before")  # killed between two renames
    write_back(folder)
    assert is_whole(folder / "cells.zarr", scrcl.open_run(folder / "out").to_anndata())


@ONE_FORMAT
def test_another_store_several_inputs_and_files_are_refused(folder, tmp_path):
    other = make_cells(seed=1)
    write_store(other, tmp_path / "other.zarr", 2)
    other.write_h5ad(tmp_path / "other.h5ad")
    before = bytes_of(tmp_path)
    for inputs, error, match in (
        (["other.zarr"], ResumeError, "whose content is another"),
        (["other.h5ad"], InputError, "a Zarr store as input; got .*other.h5ad"),
        (["other.zarr", "other.h5ad"], InputError, "one store to write to; .* 2 inputs"),
    ):
        with pytest.raises(error, match=match):
            scrcl.write_back(folder / "out", inputs=[tmp_path / name for name in inputs])
    assert bytes_of(tmp_path) == before
