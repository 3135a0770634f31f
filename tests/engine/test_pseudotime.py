"""Diffusion pseudotime in a run: from a cell, from a cluster, of some cells, and where no path leads."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import spearmanr

import scrcl
from scrcl.engine.config import RunConfig
from scrcl.engine.load_config import load_config
from scrcl.engine.plan import plan_run
from scrcl.engine.run import run_files
from scrcl.engine.stages.pseudotime import PseudotimeStage
from scrcl.errors import InputError
from tests.cells import FAST

N_PATH, N_APART = 260, 25


def cells_on_a_path():
    """Cells along a path from one profile over a second to a third; some of another type; one without counts."""
    rng = np.random.default_rng(5)
    time = np.sort(rng.random(N_PATH))
    profiles = rng.gamma(0.4, 1.0, (4, 120)) + 0.02
    profiles /= profiles.sum(axis=1, keepdims=True)
    first, second = np.maximum(1 - 2 * time, 0), np.maximum(2 * time - 1, 0)
    on_path = np.outer(first, profiles[0]) + np.outer(second, profiles[2])
    on_path += np.outer(1 - first - second, profiles[1])
    means = np.vstack([on_path, np.tile(profiles[3], (N_APART, 1)), np.zeros((1, 120))])
    order = rng.permutation(len(means))
    counts = rng.poisson(1500 * means)[order].astype(np.float32)
    times = np.concatenate([time, np.full(N_APART + 1, np.nan)])[order]
    kinds = np.array(["path"] * N_PATH + ["apart"] * N_APART + ["empty"])[order]
    return anndata.AnnData(
        sparse.csr_matrix(counts),
        obs=pd.DataFrame(
            {"time": times, "kind": kinds}, index=[f"cell{i}" for i in range(len(times))]
        ),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(120)]),
    )


def config_of(**settings):
    more = {"n_clusters": 5, "device": "cpu", "cluster": {"algorithm": "kmeans"}, **settings}
    return load_config(overrides={**FAST, **more})


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("path")
    adata = cells_on_a_path()
    adata.write_h5ad(folder / "cells.h5ad")
    config = config_of(pseudotime={"root": first_cell(adata)})
    return run_files([folder / "cells.h5ad"], folder / "out", config), folder / "cells.h5ad"


def first_cell(adata):
    return adata.obs["time"].idxmin()


def result_of(done):
    return scrcl.open_run(done[0].out).to_anndata()


def redo(done, **settings):
    run_files([done[1]], done[0].out, RunConfig(pseudotime=settings), start="pseudotime")
    return result_of(done)


def agreement(one, other):
    return spearmanr(one, other, nan_policy="omit").statistic


def test_it_is_that_of_scanpy_and_follows_the_path(done):
    import scanpy as sc

    result = result_of(done)
    on_path = result[result.obs["kind"] == "path"].copy()
    mine = on_path.obs["scrcl_pseudotime"]
    assert mine.notna().all()
    assert agreement(mine, on_path.obs["time"]) > 0.95
    sc.pp.neighbors(on_path, n_neighbors=9, use_rep="X_pca", method="gauss")
    on_path.uns["iroot"] = int(on_path.obs_names.get_loc(first_cell(cells_on_a_path())))
    sc.tl.diffmap(on_path)
    sc.tl.dpt(on_path)
    assert agreement(mine, on_path.obs["dpt_pseudotime"]) > 0.95
    assert mine.min() == 0
    assert mine.max() == 1
    assert mine.idxmin() == result.uns["scrcl"]["pseudotime_root"]


def test_cells_that_no_path_leads_to_have_none_and_the_report_says_so(done):
    obs = result_of(done).obs
    assert obs["scrcl_pseudotime"].isna().equals(obs["kind"] == "apart")
    record = scrcl.open_run(done[0].out).record(PseudotimeStage)
    assert record.n_apart == N_APART
    page = done[0].report_path.read_text()
    assert f"{N_APART} cells have no pseudotime" in page
    assert "Clusters by their diffusion pseudotime" in page
    of_cluster = obs.groupby("scrcl", observed=True)["scrcl_pseudotime"].median()
    for median, expected in zip(record.medians, of_cluster, strict=True):
        assert median == (pytest.approx(expected) if np.isfinite(expected) else None)


def test_it_starts_at_the_tip_of_a_cluster(done, tmp_path):
    obs = result_of(done).obs
    start = obs.groupby("scrcl", observed=True)["time"].mean().idxmin()
    from_cell = obs["scrcl_pseudotime"]
    tip = redo(done, root=f"cluster={start}")
    assert agreement(tip.obs["scrcl_pseudotime"], from_cell) > 0.98
    assert obs.loc[tip.uns["scrcl"]["pseudotime_root"], "time"] < 0.1
    (tmp_path / "names.csv").write_text(f"cluster,name\n{start},the start\n")
    scrcl.rename(done[0].out, tmp_path / "names.csv")
    named = redo(done, root="cluster= the start")
    assert named.obs["scrcl_pseudotime"].equals(tip.obs["scrcl_pseudotime"])


def test_of_a_large_atlas_some_cells_are_compared_and_the_others_put_among_them(done):
    root = first_cell(cells_on_a_path())
    whole = redo(done, root=root).obs["scrcl_pseudotime"]
    part = redo(done, root=root, cells=120)
    record = scrcl.open_run(done[0].out).record(PseudotimeStage)
    assert 120 <= record.n_compared <= 121
    assert agreement(part.obs["scrcl_pseudotime"], whole) > 0.95
    apart = part.obs["kind"] == "apart"
    assert part.obs.loc[apart, "scrcl_pseudotime"].isna().all()
    assert part.obs.loc[~apart, "scrcl_pseudotime"].notna().mean() > 0.95
    again = redo(done, root=root, cells=120)
    assert again.obs["scrcl_pseudotime"].equals(part.obs["scrcl_pseudotime"])


def test_without_a_root_there_is_none_and_it_is_planned(done):
    least = {
        name: {stage.name: stage for stage in plan_run([done[1]], config).stages}["pseudotime"]
        for name, config in (
            ("off", config_of()),
            ("on", config_of(pseudotime={"root": first_cell(cells_on_a_path())})),
        )
    }
    assert least["on"].peak_bytes > least["off"].peak_bytes
    assert least["off"].disk_bytes == 0
    assert "scrcl_pseudotime" not in redo(done, root=None).obs


@pytest.mark.parametrize(
    ("root", "match"),
    [
        ("nobody", "must be a cell of the input, such as cell0, or cluster=NAME; got 'nobody'"),
        ("cluster=9", "must name a cluster of the run, 0 to 4.*; got '9'"),
        ("cluster=", "must name a cluster of the run, 0 to 4.*; got ''"),
        ("empty", "must be a retained cell; cell[0-9]+ has no counts or was filtered"),
    ],
)
def test_a_root_that_is_not_there_is_refused_and_another_can_be_named(done, root, match):
    adata = cells_on_a_path()
    wanted = adata.obs_names[adata.obs["kind"] == "empty"][0] if root == "empty" else root
    with pytest.raises(InputError, match=match):
        redo(done, root=wanted)
    assert redo(done, root=first_cell(adata)).obs["scrcl_pseudotime"].notna().sum() == N_PATH
