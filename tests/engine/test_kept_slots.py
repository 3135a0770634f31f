"""The user's data in the result of a run, key by key."""

import anndata as ad
import numpy as np
import pytest
from anndata.tests.helpers import assert_equal
from pandas.testing import assert_frame_equal
from scipy import sparse

from bench.inputs.damages import UP_TO_RESULT
from scrcl import fit
from scrcl.engine.annotate import renamed_if_taken, warn_of_replaced
from scrcl.engine.load_config import load_config
from scrcl.engine.run import run_files
from scrcl.engine.stage import AnnDataKeys
from scrcl.engine.stages import STAGES
from tests.cells import FAST, make_cells

SETTINGS = {**FAST, "n_clusters": 4, "device": "cpu"}


def annotated():
    """Return cells with all slots; cell 3 and every fifth have no counts and are left out of a run."""
    rng = np.random.default_rng(0)
    adata = make_cells()
    n, genes = adata.shape
    empty = (np.arange(n) % 5 == 0) | (np.arange(n) == 3)
    adata.X = sparse.csr_matrix(adata.X.multiply(~empty[:, None]))
    adata.X.eliminate_zeros()
    adata.layers["doubled"] = adata.X * 2
    adata.raw = adata[:, :20].copy()
    adata.obs["n"] = np.arange(n)
    adata.var["highly_variable"] = np.arange(genes) % 2 == 0
    adata.obsm["X_umap"] = rng.random((n, 2))
    adata.obsm["X_pca"] = rng.random((n, 5))
    adata.varm["PCs"] = rng.random((genes, 5))
    adata.obsp["pairs"] = sparse.random(n, n, 0.05, format="csr", rng=rng)
    adata.uns["spatial"] = {"lib": {"images": {"hires": rng.random((4, 5, 3))}}}
    return adata, np.flatnonzero(~empty)


def assert_kept(found, given):
    assert_frame_equal(found.obs[list(given.obs)], given.obs)
    for slot in ("obsm", "obsp", "varm", "uns"):
        for key, value in getattr(given, slot).items():
            assert_equal(getattr(found, slot)[key], value, elem_name=f"{slot}/{key}")
    assert_frame_equal(found.var[list(given.var)], given.var)
    assert "scrcl" in found.obs
    assert found.obsm["X_pca_scrcl"].shape[1] == found.varm["PCs_scrcl"].shape[1] == 12
    assert "pca" not in found.uns  # no pair with the loadings of the user
    assert len(found.uns["pca_scrcl"]["variance"]) == 12
    assert found.var["highly_variable_scrcl"].sum() != found.var["highly_variable"].sum()
    assert "rank_genes_groups" in found.uns  # the user has none


@pytest.mark.parametrize("fmt", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_result_has_all_slots_of_the_input(tmp_path, fmt):
    adata, rows = annotated()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    config = load_config(overrides={**SETTINGS, "format": fmt, "keep_x": True})
    path = run_files([tmp_path / "cells.h5ad"], tmp_path / "out", config).result_path
    found = ad.read_h5ad(path) if fmt == "h5ad" else ad.read_zarr(path)
    given = adata[rows].copy()
    assert_kept(found, given)
    assert_equal(found.X, given.X)
    assert_equal(found.layers["doubled"], given.layers["doubled"])
    assert_equal(found.raw.X, given.raw.X)


@pytest.mark.parametrize("has_run", [False, True])
def test_a_column_with_the_name_of_a_run_is_said_unless_a_run_wrote_it(caplog, has_run):
    adata = make_cells()
    adata.obs["scrcl_name"] = "mine"
    if has_run:
        adata.uns["scrcl"] = {"seed": 0}
    warn_of_replaced([adata], adata.obs, STAGES)
    assert ("obs['scrcl_name'] of the input: not kept" in caplog.text) != has_run


def with_antibodies(layer_of_all):
    """Return cells with three antibodies, and the log values of all of them in X, counts in a layer and in raw."""
    adata = make_cells()
    adata.var["feature_types"] = ["Gene Expression"] * 147 + ["Antibody Capture"] * 3
    adata.layers["counts"] = adata.X.copy()
    adata.raw = adata if layer_of_all else adata[:, :20].copy()
    adata.X = adata.X.log1p()
    return adata


@pytest.mark.parametrize(("layer", "same"), [("counts", True), ("raw", True), ("raw", False)])
@pytest.mark.parametrize("n_inputs", [1, 2])
def test_x_raw_and_layers_are_kept_without_antibodies(tmp_path, caplog, layer, same, n_inputs):
    given = with_antibodies(same)
    paths = [tmp_path / f"{number}.h5ad" for number in range(n_inputs)]
    for path in paths:
        given.write_h5ad(path)
    config = load_config(overrides={**SETTINGS, "layer": layer, "keep_x": True})
    run_files(paths, tmp_path / "out", config, stages=UP_TO_RESULT)
    found = ad.read_h5ad(tmp_path / "out" / "result.h5ad")
    if not same:
        assert "not kept, as the result has other genes: X, layers/counts" in caplog.text
        assert_equal(found.X[:240], given.raw.X)
        return
    genes = given[:, :147]
    assert_equal(found.X[:240], genes.X)
    assert_equal(found.layers["counts"][:240], genes.layers["counts"])
    assert_equal(found.raw.X[:240], given.raw.X[:, :147])


def test_fit_changes_nothing_of_the_user(tmp_path, caplog):
    adata, _ = annotated()
    given = adata.copy()
    adata.obs["scrcl_name"] = "mine"
    fit(adata, out=tmp_path / "out", **SETTINGS)
    assert caplog.text.count("obs['scrcl_name'] of the input: not kept") == 1
    assert_kept(adata, given)
    assert_equal(adata.X, given.X)
    assert_equal(adata.layers["doubled"], given.layers["doubled"])
    again = adata.copy()
    fit(again, **SETTINGS)
    for slot in ("var", "obsm", "varm", "uns"):
        assert sorted(getattr(again, slot)) == sorted(getattr(adata, slot))
    assert_kept(again, given)


def test_a_map_and_markers_of_the_input_stay_and_a_warning_says_how_to_draw_the_other(caplog):
    keys = AnnDataKeys(obsm={"X_umap": np.zeros((3, 2))}, uns_other={"rank_genes_groups": {}})
    of_input = {"obsm": ["X_umap"], "uns": ["rank_genes_groups"]}
    renamed = renamed_if_taken(keys, of_input)
    assert (list(renamed.obsm), list(renamed.uns_other)) == (
        ["X_umap_scrcl"],
        ["rank_genes_groups_scrcl"],
    )
    assert 'sc.pl.embedding(adata, basis="X_umap_scrcl")' in caplog.text
    assert 'key="rank_genes_groups_scrcl"' in caplog.text
