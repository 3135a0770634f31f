"""The stage `graph` under the settings that shape it: samples, radius, batches."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scrcl._progress import Silent
from scrcl.engine.load_config import load_config
from scrcl.engine.plan import plan_run
from scrcl.engine.run import run_files, run_matrix
from scrcl.errors import InputError, ResumeError
from scrcl.graph.csr import Graph
from scrcl.io.open import from_anndata
from tests.cells import FAST, make_cells
from tests.reference_graph import assert_valid
from tests.stores import write_zarr


class Heard(Silent):
    """A reporter that keeps the notes."""

    def __init__(self):
        self.notes = []

    def run_ended(self, notes, earlier):
        self.notes += notes


def run(adata, out, *, until=None, reporter=None, graph=None, **settings):
    graph = {**FAST["graph"], **(graph or {})}
    if settings.get("spatial"):
        graph = {"spatial_neighbors": graph["n_neighbors"], **graph}
    config = load_config(
        overrides={**FAST, "n_clusters": 4, "device": "cpu", "graph": graph, **settings}
    )
    result = run_matrix(
        lambda _: from_anndata(adata), out, config, until=until, reporter=reporter or Heard()
    )
    record = next(r for r in result.stages if r["name"] == "graph")
    return result, record, np.load(out / "stages" / "graph" / "ids.npy")


def slices(sizes=(150, 84, 5, 1), *, seed=0):
    """Cells of slices whose coordinates overlap."""
    adata = make_cells(sum(sizes), spatial=True, seed=seed)
    codes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    adata.obs["slice"] = pd.Categorical([f"s{code}" for code in codes])
    return adata, codes


def test_no_neighbour_is_in_another_sample_and_small_samples_are_noted(tmp_path):
    adata, codes = slices()
    heard = Heard()
    result, record, ids = run(
        adata, tmp_path / "out", spatial=True, sample_key="slice", reporter=heard
    )
    there = ids >= 0
    assert np.array_equal(np.broadcast_to(codes[:, None], ids.shape)[there], codes[ids[there]])
    assert there.sum(axis=1)[codes < 2].min() == 8
    assert (there.sum(axis=1)[codes == 2] == 4).all()
    assert (there.sum(axis=1)[codes == 3] == 0).all()
    assert record["n_alone"] == 1
    assert any(note.startswith("2 slices have 8 cells") for note in heard.notes)
    assert any(note.startswith("1 of 240 cells (0.4%)") for note in heard.notes)
    page = result.report_path.read_text()
    assert all(note in page for note in record["notes"])
    found = anndata.read_h5ad(result.result_path)
    assert np.isfinite(found.obsm["X_scrcl"]).all()
    assert found.obsp["scrcl_distances"].nnz == there.sum()


def test_a_radius_bounds_every_neighbour(tmp_path):
    adata, codes = slices((120, 120))
    heard = Heard()
    graph = {"radius": 0.5}
    result, record, ids = run(
        adata,
        tmp_path / "out",
        spatial=True,
        sample_key="slice",
        graph=graph,
        reporter=heard,
    )
    coordinates = adata.obsm["spatial"]
    away = np.sqrt(((coordinates[:, None] - coordinates[None]) ** 2).sum(axis=2))
    near = (away <= 0.5) & (codes[:, None] == codes[None]) & ~np.eye(240, dtype=bool)
    assert np.array_equal((ids >= 0).sum(axis=1), np.minimum(near.sum(axis=1), 8))
    assert record["n_alone"] == (~near.any(axis=1)).sum() > 0
    alone = f"{record['n_alone']} of 240 cells"
    assert any(note.startswith(alone) and "graph.radius" in note for note in heard.notes)
    assert len(result.clusters) > 1


def test_a_radius_that_is_too_small_leaves_nothing_behind(tmp_path):
    adata, _ = slices()
    with pytest.raises(InputError, match=r"radius .*1e-06"):
        run(adata, tmp_path / "out", spatial=True, graph={"radius": 1e-6})
    assert not (tmp_path / "out").exists()


def test_coordinates_may_be_a_table_on_disk_and_in_memory(tmp_path):
    adata, _ = slices()
    _, _, expected = run(adata, tmp_path / "array", until="graph", spatial=True)
    table = pd.DataFrame(adata.obsm["spatial"], index=adata.obs_names, columns=["x", "y"])
    adata.obsm["spatial"] = table
    _, _, found = run(adata, tmp_path / "table", until="graph", spatial=True)
    assert np.array_equal(found, expected)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    for path in (tmp_path / "cells.h5ad", write_zarr(adata, tmp_path / "cells.zarr", 3)):
        graph = {"spatial_neighbors": FAST["graph"]["n_neighbors"]}
        config = load_config(overrides={**FAST, "device": "cpu", "spatial": True, "graph": graph})
        out = tmp_path / f"out-{path.suffix}"
        run_files([path], out, config, until="graph")
        assert np.array_equal(np.load(out / "stages" / "graph" / "ids.npy"), expected)


def test_one_position_for_all_cells_is_refused(tmp_path):
    adata = make_cells()
    adata.obsm["spatial"] = np.full((240, 2), 3.0)
    with pytest.raises(InputError, match=r"spatial.* 240"):
        run(adata, tmp_path / "out", spatial=True)


@pytest.mark.parametrize(
    ("coordinates", "found"),
    [
        (np.zeros((240, 1)), "an array of float64, 240 by 1"),
        (np.zeros((240, 4)), "an array of float64, 240 by 4"),
        (sparse.csr_matrix(np.ones((240, 2))), "a sparse matrix, 240 by 2"),
        (pd.DataFrame({"x": np.arange(240.0), "name": "spot"}), "a table with the columns x, name"),
        (pd.DataFrame({"x": np.arange(240.0)}), "a table with the columns x"),
    ],
)
def test_coordinates_of_another_kind_are_refused_before_anything_is_written(
    tmp_path, coordinates, found
):
    adata = make_cells()
    if isinstance(coordinates, pd.DataFrame):
        coordinates.index = adata.obs_names
    adata.obsm["spatial"] = coordinates
    with pytest.raises(InputError, match=f"spatial .*coordinates.*the input has {found}"):
        run(adata, tmp_path / "out", spatial=True)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(InputError, match=f"spatial .*coordinates.*the input has {found}"):
        plan_run([tmp_path / "cells.h5ad"], load_config(overrides={"spatial": True}))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (None, {"spatial": True, "sample_key": "no"}, "sample_key .*'no'"),
        (
            "gap",
            {"spatial": True, "sample_key": "slice"},
            r"sample_key .*slice.*, where cell cell7 has none\. ",
        ),
        (
            "alone",
            {"spatial": True, "sample_key": "slice"},
            "240 samples .*cell0",
        ),
        (None, {"sample_key": "slice"}, "sample_key .*spatial"),
        (None, {"graph": {"radius": 2.0}}, "radius .*spatial"),
        (None, {"spatial": True, "graph": {"radius": 0.0}}, "graph.radius .*0"),
        (
            None,
            {"spatial": True, "graph": {"backend": "exact"}},
            "backend .*spatial; got 'exact'",
        ),
    ],
)
def test_columns_that_cannot_name_samples_or_batches_are_refused(
    tmp_path, change, settings, message
):
    adata, _ = slices()
    if change == "gap":
        adata.obs["slice"] = [None if i == 7 else "a" for i in range(240)]
    if change == "alone":
        adata.obs["slice"] = adata.obs_names
    with pytest.raises(InputError, match=message):
        run(adata, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "what"),
    [({"spatial": True, "sample_key": "slice"}, "samples"), ({"batch_key": "slice"}, "batches")],
)
def test_another_column_of_samples_or_batches_is_another_run(tmp_path, settings, what):
    adata, _ = slices()
    run(adata, tmp_path / "out", until="graph", **settings)
    run(adata, tmp_path / "out", until="graph", **settings)
    adata.obs["slice"] = adata.obs["slice"].to_numpy()[::-1].copy()
    with pytest.raises(ResumeError, match=what):
        run(adata, tmp_path / "out", until="graph", **settings)


def edges_of(out):
    graph = Graph.load(out / "stages" / "graph" / "csr")
    assert_valid(graph)
    rows = np.repeat(np.arange(graph.n), graph.degrees)
    return set(zip(rows.tolist(), graph.indices.tolist(), strict=True))


def named_by(ids):
    pairs = {(i, int(j)) for i, near in enumerate(ids) for j in near if j >= 0}
    return pairs, {(j, i) for i, j in pairs}


def donors(n_donors, *, shift):
    """Cells of donors whose every gene is ``shift`` times another's, gene by gene."""
    adata = make_cells(240, 150)
    rng = np.random.default_rng(1)
    codes = rng.integers(0, n_donors, 240)
    factors = np.exp(shift * rng.normal(size=(n_donors, 150)))
    adata.X = adata.X.multiply(factors[codes]).tocsr().astype(np.float32)
    adata.X.data = np.rint(adata.X.data)
    adata.X.eliminate_zeros()
    adata.obs["donor"] = pd.Categorical([f"d{code}" for code in codes])
    return adata, codes


def test_the_share_of_edges_between_batches_is_recorded_and_reported(tmp_path):
    adata, _ = donors(2, shift=1.5)
    settings = {"batch_key": "donor", "correct": {"method": "none"}}
    result, record, _ = run(adata, tmp_path / "out", **settings)
    assert record["cross_batch_share"] < 0.05
    page = result.report_path.read_text()
    assert f"{record['cross_batch_share']:.1%} of them across batches" in page
