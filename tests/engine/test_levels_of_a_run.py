import anndata
import numpy as np
import pytest
from scipy.sparse import csr_matrix

import scrcl
from scrcl.cluster import supported
from scrcl.engine.stages.cluster import ClusterStage
from tests.cells import FAST, make_cells

QUICK = {**FAST, "device": "cpu", "n_clusters": "auto", "cluster": {"algorithm": "vote"}}


def same_type(n=200, *, equal=False):
    """Return Poisson counts of one profile; or the same counts in all cells but one."""
    rng = np.random.default_rng(0)
    profile = rng.gamma(0.5, size=60)
    x = rng.poisson(np.tile(profile / profile.sum(), (n, 1)) * rng.lognormal(6, 0.3, size=(n, 1)))
    if equal:
        x[1:] = x[0]
        x[0, ::2] += 1
    x[:, 0] += 1  # a cell without counts would be left out
    adata = anndata.AnnData(csr_matrix(x.astype(np.float32)))
    adata.obs_names = [f"cell {i}" for i in range(n)]
    adata.var_names = [f"gene {i}" for i in range(60)]
    return adata


def test_levels_and_supports_are_in_the_result_and_in_the_report(tmp_path):
    found = make_cells()
    scrcl.fit(found, out=tmp_path / "out", **QUICK)
    n = {key: found.obs[key].nunique() for key in ("scrcl_coarse", "scrcl", "scrcl_fine")}
    assert n["scrcl_coarse"] == (n["scrcl"] + 1) // 2
    assert n["scrcl_fine"] == 2 * n["scrcl"]
    assert len(found.obs[["scrcl", "scrcl_fine"]].drop_duplicates()) == n["scrcl_fine"]
    assert len(found.obs[["scrcl", "scrcl_coarse"]].drop_duplicates()) == n["scrcl"]
    splits = found.uns["scrcl"]["tree"]["splits"]
    assert splits.shape == (n["scrcl_fine"] - 1, 4)
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "the next merge would be" in report
    assert "the next split would be" in report
    assert f"support {splits[n['scrcl'], 2]:.2f}" in report
    record = scrcl.open_run(tmp_path / "out").record(ClusterStage)
    for parting in record.levels.partings:
        others = ", ".join(map(str, parting.others))
        assert f"<td>{others} ({parting.support:.2f})</td>" in report
    # A later run of another algorithm, with a number, has no levels.
    scrcl.fit(found, **QUICK | {"n_clusters": 4, "cluster": {"algorithm": "linkage"}})
    assert not {"scrcl_coarse", "scrcl_fine"} & set(found.obs)


@pytest.mark.parametrize("equal", [False, True])
def test_cells_of_one_type_are_one_cluster(equal, tmp_path):
    adata = same_type(equal=equal)
    scrcl.fit(adata, out=tmp_path / "out", **QUICK)
    assert adata.obs["scrcl"].nunique() == 1
    assert adata.obs["scrcl_confidence"].between(0, 1).all()
    new = same_type(20)
    scrcl.predict(tmp_path / "out", new)
    assert new.obs["scrcl"].nunique() == 1


@pytest.mark.parametrize(("kind", "n_representations"), [("counts", 3), ("log", 3), ("imputed", 1)])
def test_counts_and_their_logarithms_are_scaled_in_other_ways(kind, n_representations, monkeypatch):
    adata, seen = make_cells(), []
    if kind != "counts":
        adata.X = adata.X.log1p()
    if kind == "imputed":
        adata.X.data *= np.random.default_rng(0).uniform(0.8, 1.2, adata.X.nnz).astype(np.float32)
    real = supported.nearest_cells

    def counting(representations, *args):
        seen.append(len(representations))
        return real(representations, *args)

    monkeypatch.setattr(supported, "nearest_cells", counting)
    scrcl.fit(adata, features={"values": "counts" if kind == "counts" else "log"}, **QUICK)
    assert seen == [n_representations]
