import subprocess
import sys

import anndata
import numpy as np
import pytest

import scrcl
from scrcl.errors import InputError
from tests.cells import FAST, make_cells

QUICK = {**FAST, "device": "cpu", "n_clusters": 4}


def test_fit_writes_into_an_object_in_memory_what_a_run_on_its_file_gives(tmp_path):
    adata = make_cells()
    before = adata.X.copy()
    returned = scrcl.fit(adata, **QUICK)
    assert returned is adata
    assert (before != adata.X).nnz == 0

    adata_path = tmp_path / "cells.h5ad"
    make_cells().write_h5ad(adata_path)
    from_file = scrcl.fit(adata_path, **QUICK)
    assert adata.obs["scrcl"].tolist() == from_file.obs["scrcl"].tolist()
    for key in ("X_scrcl", "X_pca"):
        assert np.array_equal(adata.obsm[key], from_file.obsm[key])
    for key in ("scrcl_connectivities", "scrcl_distances"):
        assert (adata.obsp[key] != from_file.obsp[key]).nnz == 0
    assert adata.uns["scrcl"]["n_clusters"] == 4


def test_cells_without_counts_get_no_cluster():
    adata = make_cells()
    keep = np.ones((240, 1), dtype=np.float32)
    keep[7] = 0
    adata.X = adata.X.multiply(keep).tocsr()
    scrcl.fit(adata, cluster={"also": [2]}, **QUICK)
    for key in ("scrcl", "scrcl_k2", "scrcl_confidence"):
        assert adata.obs[key].isna().to_numpy().nonzero()[0].tolist() == [7]
    assert np.isnan(adata.obsm["X_scrcl"][7]).all()
    assert adata.obsp["scrcl_connectivities"][7].nnz == 0
    assert adata.obsp["scrcl_distances"].nnz == 239 * 8


def test_nothing_of_an_earlier_run_outlives_a_later_one(tmp_path):
    adata = make_cells()
    adata.obs[7] = 1  # pandas allows names that are no text
    scrcl.fit(adata, out=tmp_path / "out", cluster={"also": [2]}, **QUICK)
    other = make_cells(seed=1)
    other.obs_names = [f"new {name}" for name in other.obs_names]
    scrcl.fit(other, **QUICK)
    scrcl.predict(tmp_path / "out", other)
    assert not {"scrcl_distances", "scrcl_connectivities"} & set(other.obsp)
    assert {"scrcl_margin", "scrcl_familiarity"} <= set(other.obs)
    other.uns["scrcl_colors"] = ["red"] * 9
    scrcl.fit(other, **QUICK)
    assert not {"scrcl_margin", "scrcl_familiarity", "scrcl_k2"} & set(other.obs)
    assert "scrcl_colors" not in other.uns
    assert "scrcl_connectivities" in other.obsp


def test_further_clusterings_into_more_than_the_cells_are_refused_before_training(tmp_path):
    adata = make_cells(60)
    keep = np.zeros((60, 1), dtype=np.float32)
    keep[:20] = 1
    adata.X = adata.X.multiply(keep).tocsr()
    with pytest.raises(
        InputError, match=r"cluster.also must be at most the number .* \(20\); got 30"
    ):
        scrcl.fit(adata, out=tmp_path / "out", cluster={"also": [3, 30]}, **QUICK)
    assert not (tmp_path / "out" / "stages" / "train").exists()


def test_a_backed_object_is_read_from_its_file(tmp_path):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    scrcl.fit(backed, **QUICK)
    assert backed.obs["scrcl"].tolist() == scrcl.fit(make_cells(), **QUICK).obs["scrcl"].tolist()


def test_scanpy_takes_the_graph_by_its_key():
    import scanpy as sc

    adata = scrcl.fit(make_cells(), **QUICK)
    sc.tl.leiden(adata, neighbors_key="scrcl", flavor="igraph", n_iterations=2, directed=False)
    assert adata.obs["leiden"].nunique() > 1


def test_a_folder_keeps_the_run(tmp_path):
    scrcl.fit(make_cells(), out=tmp_path / "out", **QUICK)
    assert (tmp_path / "out" / "report.html").exists()
    assert (tmp_path / "out" / "run.json").exists()


def test_a_configuration_is_the_start_and_keywords_win():
    config = scrcl.RunConfig(**{**QUICK, "n_clusters": 5})
    adata = scrcl.fit(make_cells(), 3, config=config, train={"steps": 4})
    assert adata.obs["scrcl"].nunique() == 3
    assert adata.uns["scrcl"]["config"]["train"]["steps"] == 4
    assert adata.uns["scrcl"]["config"]["scrcl"]["dim"] == 16


def test_unknown_settings_are_refused():
    with pytest.raises(InputError, match="n_cluster must be a known setting"):
        scrcl.fit(make_cells(), n_cluster=3)
    with pytest.raises(InputError, match="at least one file"):
        scrcl.fit([])


def test_importing_scrcl_loads_no_heavy_library_and_is_quick():
    code = (
        "import sys, time; start = time.perf_counter(); import scrcl; "
        "took = time.perf_counter() - start; "
        "heavy = {'torch', 'faiss', 'scanpy', 'anndata', 'sklearn', 'umap', 'numba', 'pandas'}; "
        "print(took, sorted(heavy & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    took, heavy = said.split(" ", 1)
    assert heavy.strip() == "[]"
    assert float(took) < 0.5
