import subprocess
import sys
from importlib.util import find_spec

import anndata
import numpy as np
import pytest

import scrcl
from scrcl._progress import Silent
from scrcl.engine.evaluate import score
from scrcl.engine.stages import STAGES
from scrcl.errors import BudgetError, InputError
from tests.cells import FAST, make_cells

QUICK = {**FAST, "device": "cpu", "n_clusters": 4}


def test_fit_gives_the_same_in_memory_and_from_a_file(tmp_path):
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


def test_keys_are_added_to_a_view_without_a_warning():
    whole = make_cells()
    whole.obsp["scrcl_connectivities"] = np.eye(240)
    view = whole[:200]
    scrcl.fit(view, **QUICK)  # warnings are errors here
    assert not view.is_view
    assert view.obs["scrcl"].notna().all()
    assert view.obsp["scrcl_connectivities"].sum() != 200
    assert "scrcl" not in whole.obs


def test_cells_without_counts_get_no_cluster():
    adata = make_cells()
    keep = np.ones((240, 1), dtype=np.float32)
    keep[7] = 0
    adata.X = adata.X.multiply(keep).tocsr()
    scrcl.fit(adata, **{**QUICK, "cluster": {"also": [2]}})
    for key in ("scrcl", "scrcl_k2", "scrcl_confidence"):
        assert adata.obs[key].isna().to_numpy().nonzero()[0].tolist() == [7]
    assert np.isnan(adata.obsm["X_scrcl"][7]).all()
    assert adata.obsp["scrcl_connectivities"][7].nnz == 0
    assert adata.obsp["scrcl_distances"].nnz == 239 * 8
    others = np.delete(np.arange(240), 7)
    without = scrcl.fit(adata[others].copy(), **{**QUICK, "cluster": {"also": [2]}})
    for key in ("scrcl_connectivities", "scrcl_distances"):
        assert (adata.obsp[key][others][:, others] != without.obsp[key]).nnz == 0


def test_a_later_run_removes_the_results_of_an_earlier_one(tmp_path):
    adata = make_cells()
    adata.obs[7] = 1  # pandas allows names that are not text
    scrcl.fit(adata, out=tmp_path / "out", **{**QUICK, "cluster": {"also": [2]}})
    other = make_cells(seed=1)
    other.obs_names = [f"new {name}" for name in other.obs_names]
    scrcl.fit(other, **QUICK)
    scrcl.predict(tmp_path / "out", other)
    assert not {"scrcl_distances", "scrcl_connectivities"} & set(other.obsp)
    assert {"scrcl_margin", "scrcl_familiarity"} <= set(other.obs)
    other.uns["scrcl_colors"] = ["red"] * 9
    scrcl.fit(other, **{**QUICK, "n_clusters": 3})
    assert not {"scrcl_margin", "scrcl_familiarity", "scrcl_k2"} & set(other.obs)
    assert len(other.uns["scrcl_colors"]) == 3
    assert "scrcl_connectivities" in other.obsp


def test_extra_cuts_into_more_clusters_than_cells_are_refused_before_training(tmp_path):
    adata = make_cells(60)
    keep = np.zeros((60, 1), dtype=np.float32)
    keep[:20] = 1
    adata.X = adata.X.multiply(keep).tocsr()
    with pytest.raises(
        InputError, match=r"cluster.also must be at most the number .* \(20\); got 30"
    ):
        scrcl.fit(adata, out=tmp_path / "out", **{**QUICK, "cluster": {"also": [3, 30]}})
    assert not (tmp_path / "out" / "stages" / "train").exists()


def test_a_backed_object_is_read_from_its_file(tmp_path):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    scrcl.fit(backed, **QUICK)
    assert backed.obs["scrcl"].tolist() == scrcl.fit(make_cells(), **QUICK).obs["scrcl"].tolist()


def test_notes_and_warnings_are_logged_once_and_notes_are_always_in_the_result(tmp_path, caplog):
    adata = make_cells()
    adata.obs_names = ["cell0", *adata.obs_names[:-1]]  # names are read three times
    whole = {**QUICK, "graph": {"n_neighbors": 70}}  # with fewer, types lie apart in the cell graph
    scrcl.fit(adata, **whole)
    assert list(adata.uns["scrcl"]["notes"]) == []
    (warning,) = caplog.records
    assert "1 repeated cell names" in warning.getMessage()
    caplog.clear()
    more = {**whole, "cluster": {"algorithm": "kmeans", "also": [9]}}
    with pytest.raises(KeyboardInterrupt):
        scrcl.fit(make_cells(), out=tmp_path / "out", reporter=StopsAfterClusters(), **more)
    # A run that was stopped shows all of its notes when it ends. Later calls log how many there are, as no warning.
    for start, is_new in ((None, True), (None, False), ("report", False)):
        adata = scrcl.fit(make_cells(), out=tmp_path / "out", start=start, **more)
        (note,) = adata.uns["scrcl"]["notes"]
        assert [record.getMessage() for record in caplog.records] == [note] * is_new
        caplog.clear()


class StopsAfterClusters(Silent):
    def stage_finished(self, name, seconds, *, resumed):
        if name == "cluster":
            raise KeyboardInterrupt


def test_scanpy_finds_the_graph_by_its_key():
    import scanpy as sc

    adata = scrcl.fit(make_cells(), **QUICK)
    sc.tl.leiden(adata, neighbors_key="scrcl", flavor="igraph", n_iterations=2, directed=False)
    assert adata.obs["leiden"].nunique() > 1


def test_a_folder_keeps_the_run(tmp_path):
    adata = scrcl.fit(make_cells(), out=tmp_path / "out", **QUICK)
    assert "</html>" in (tmp_path / "out" / "report.html").read_text()
    labels = scrcl.open_run(tmp_path / "out").labels
    assert labels.astype(str).tolist() == adata.obs["scrcl"].tolist()


def test_keywords_win_over_a_configuration():
    config = scrcl.RunConfig(**{**QUICK, "n_clusters": 5})
    adata = scrcl.fit(make_cells(), n_clusters=3, config=config, train={"steps": 4})
    assert adata.obs["scrcl"].nunique() == 3
    assert adata.uns["scrcl"]["config"]["train"]["steps"] == 4
    assert adata.uns["scrcl"]["config"]["scrcl"]["dim"] == 16


def test_the_help_of_fit_lists_every_stage_to_start_from():
    redoable = [stage.name for stage in STAGES if stage.redo_settings]
    assert all(f'``"{name}"``' in scrcl.fit.__doc__ for name in redoable)


def test_unknown_settings_are_refused():
    with pytest.raises(InputError, match=r"names\.table, in Python names={'table': \.\.\.}"):
        scrcl.fit(make_cells(), markers_table="m.csv")
    with pytest.raises(InputError, match="n_cluster must be a known setting"):
        scrcl.fit(make_cells(), n_cluster=3)
    with pytest.raises(InputError, match=r"at least one file; got none\. Give a path\."):
        scrcl.fit([])


def test_importing_scrcl_loads_no_heavy_library_and_is_quick():
    code = (
        "import sys, time; start = time.perf_counter(); import scrcl; "
        "took = time.perf_counter() - start; "
        "heavy = {'torch', 'faiss', 'scanpy', 'anndata', 'sklearn', 'umap', 'numba', 'pandas'}; "
        "print(took, sorted(heavy & set(sys.modules)))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    took, heavy = printed.split(" ", 1)
    assert heavy.strip() == "[]"
    assert float(took) < 0.5


def test_every_public_name_can_be_imported():
    names = set(scrcl.__all__)
    if find_spec("scrcl.engine.open_run") is None:
        names.remove("open_run")
    assert all(getattr(scrcl, name) is not None for name in names)
    assert names - {"__version__"} <= set(dir(scrcl))
    assert not hasattr(scrcl, "score")


def test_commands_and_functions_have_the_same_names():
    from typer.main import get_command

    from scrcl.cli.main import app

    commands = set(get_command(app).commands)
    # `scrcl.markers` is a package of its own.
    functions = {{"markers": "find_markers"}.get(name, name) for name in commands}
    assert functions - {"info", "run", "demo", "settings"} <= set(scrcl.__all__)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (np.zeros((3, 3)), "ndarray"), (None, "NoneType"), (make_cells(12).to_df(), "DataFrame"), ({"X": 1}, "dict"),
        ([make_cells(12)], "several of AnnData"), (["a.h5ad", 3], "several of int"), ("", "an empty text"),
        ([], "none"),
    ],

)  # fmt: skip
def test_what_is_no_input_is_named(data, found):
    with pytest.raises(InputError, match=f"data must .*got {found}"):
        scrcl.fit(data)


def test_data_functions_take_paths_as_text(tmp_path):
    store, copy = str(tmp_path / "atlas.zarr"), str(tmp_path / "copy.zarr")
    written = scrcl.simulate(store, n_cells=300, n_genes=200, n_types=3, n_samples=2, seed=1)
    assert (written.n_cells, written.n_genes, str(written.path)) == (300, 200, store)
    copied = scrcl.convert([store], copy, order="cell_type")
    assert (copied.n_cells, copied.stored_values) == (300, written.stored_values)
    described = scrcl.describe(copy)
    assert (described.n_cells, described.n_genes, described.values) == (300, 200, "counts")
    assert described.stored_values == written.stored_values
    assert {"cell_type", "sample"} <= set(described.obs)
    planned = scrcl.plan(store, memory="3GB", until="graph")
    assert planned.memory_bytes == 3 * 10**9
    assert planned.stages[-1].name == "graph"
    assert scrcl.plan(store, memory="8MB").refusal is not None


def test_an_object_is_described_with_its_layers():
    adata = make_cells()
    adata.layers["counts"] = adata.X.copy()
    adata.X = np.log1p(adata.X.toarray() / adata.X.sum(axis=1).A1[:, None] * 1e4)
    adata.obs["stim"] = ["a", "b"] * (adata.n_obs // 2)
    found = scrcl.describe(adata)
    assert (found.n_cells, found.n_genes) == adata.shape
    assert (found.values, found.layers) == (
        "logarithms of normalised counts",
        {"counts": "counts"},
    )
    assert found.may_be_conditions == ("stim (2)",)
    assert scrcl.describe(adata, layer="counts").values == "counts"


def test_wrong_settings_of_an_atlas_are_refused(tmp_path):
    for wrong in ({"n_cells": 0}, {"cells": 9}, {"n_types": "many"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            scrcl.simulate(tmp_path / "atlas.zarr", **wrong)


def test_memory_is_named_in_an_error():
    with pytest.raises(BudgetError, match="memory"):
        scrcl.fit(make_cells(), **{**QUICK, "memory": 2_000_000})
    with pytest.raises(InputError, match="must have a unit, as in 8GB"):
        scrcl.fit(make_cells(), **{**QUICK, "memory": "8"})


def test_scores_of_a_run_are_those_of_its_labels(tmp_path):
    adata = scrcl.fit(make_cells(), out=tmp_path / "out", **QUICK)
    scores = scrcl.evaluate(str(tmp_path / "out"), "cell_type")
    expected = score(adata.obs["scrcl"], adata.obs["cell_type"])
    assert {name: getattr(scores, name) for name in expected} == expected
    assert scores.coherence is None


def test_features_that_are_left_out_have_loadings_of_zero():
    adata = make_cells()
    adata.var["feature_types"] = ["Gene Expression"] * 140 + ["Antibody Capture"] * 10
    loadings = scrcl.fit(adata, **QUICK).varm["PCs"]
    assert loadings.shape == (150, 12)
    assert loadings[:140].any()
    assert not loadings[140:].any()


def test_start_without_the_folder_of_a_run_and_the_name_of_the_command_say_what_is_meant():
    with pytest.raises(InputError, match="start must go with out"):
        scrcl.fit(make_cells(), start="cluster")
    with pytest.raises(AttributeError, match=r"called scrcl\.fit"):
        scrcl.run  # noqa: B018
