"""What several inputs hold besides their tables: obsm of all, layers and raw, one below the other."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.tests.helpers import assert_equal
from scipy import sparse

from scrcl.engine.load_config import load_config
from scrcl.engine.run import run_files
from scrcl.io.joined import copy_joined, write_other_layers, x_of
from scrcl.io.open import open_input
from scrcl.io.slots import Kept
from tests.cells import FAST, make_cells

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of zarr formats


def sample(seed, *, csc=False):
    rng = np.random.default_rng(seed)
    adata = make_cells(n_cells=60, n_genes=40, seed=seed)
    adata.obs_names = [f"s{seed}-{i}" for i in range(60)]
    adata.X = sparse.csr_matrix(adata.X.multiply((np.arange(60) % 7 > 0)[:, None]))
    adata.layers["doubled"] = (adata.X * 2).astype(np.float64 if seed else np.int32)
    adata.layers[f"only{seed}"] = adata.X.copy()
    adata.raw = adata[:, :30].copy()
    adata.obsm["wide"] = rng.random((60, 20)).astype(np.float32 if seed else np.float64)
    adata.obsm["other_width"] = rng.random((60, 5 + seed))
    adata.obsm["sparse"] = sparse.random(60, 50, 0.2, format="csr", rng=rng)
    if csc:
        adata.obsm["sparse"] = sparse.csc_matrix(adata.obsm["sparse"])
        adata.layers["doubled"] = sparse.csc_matrix(adata.layers["doubled"])
    table = pd.DataFrame({"a": rng.random(60), "b": rng.random(60)}, adata.obs_names)
    adata.obsm["table"] = table.assign(kind=pd.Categorical([f"k{seed}", "x"] * 30))
    if seed:
        adata.obsm["table"] = adata.obsm["table"][["b", "kind", "a"]]
        adata.obsm["only"] = rng.random((60, 3))
    adata.varm["PCs"] = rng.random((40, 3))
    adata.uns["method"] = "x"
    return adata


@pytest.mark.parametrize(("fmt", "csc"), [("h5ad", False), ("zarr", True)])
def test_a_joined_result_keeps_what_all_samples_have(tmp_path, caplog, monkeypatch, fmt, csc):
    monkeypatch.setattr("scrcl.io.copying._BLOCK_BYTES", 2000)  # several blocks
    monkeypatch.setattr("scrcl.io.joined._BLOCK_ROWS", 13)
    samples = {"one": sample(0), "two": sample(1, csc=csc)}
    paths = []
    for name, adata in samples.items():
        paths.append(tmp_path / f"{name}.{fmt}")
        adata.write_h5ad(paths[-1]) if fmt == "h5ad" else adata.write_zarr(paths[-1])
    given = {**FAST, "n_clusters": 3, "device": "cpu", "keep_x": True, "format": fmt}
    config = load_config(overrides=given)
    path = run_files(paths, tmp_path / "out", config).result_path
    found = ad.read_h5ad(path) if fmt == "h5ad" else ad.read_zarr(path)
    rows = [np.flatnonzero(each.X.sum(axis=1).A1 > 0) for each in samples.values()]
    kept = [each[own].copy() for each, own in zip(samples.values(), rows, strict=True)]
    assert found.n_obs == sum(map(len, rows)) < 120

    def below(of):
        parts = [of(each) for each in kept]
        return sparse.vstack(parts).toarray() if sparse.issparse(parts[0]) else np.vstack(parts)

    for key in ("wide", "sparse"):
        got = found.obsm[key]
        got = got.toarray() if sparse.issparse(got) else got
        np.testing.assert_array_equal(got, below(lambda each, key=key: each.obsm[key]))
    assert sparse.issparse(found.obsm["sparse"])
    table = pd.concat(
        [each.obsm["table"][["a", "b", "kind"]].astype({"kind": str}) for each in kept]
    )
    assert_equal(found.obsm["table"].astype({"kind": str}).to_numpy(), table.to_numpy())
    assert isinstance(found.obsm["table"]["kind"].dtype, pd.CategoricalDtype)
    np.testing.assert_array_equal(found.X.toarray(), below(lambda each: each.X))
    np.testing.assert_array_equal(
        found.layers["doubled"].toarray(), below(lambda each: each.layers["doubled"])
    )
    assert list(found.layers) == ["doubled"]
    np.testing.assert_array_equal(found.raw.X.toarray(), below(lambda each: each.raw.X))
    assert found.raw.var_names.tolist() == kept[0].raw.var_names.tolist()
    assert "only some of the inputs have them: obsm/only" in caplog.text
    assert "each input has its own: varm/PCs, uns/method" in caplog.text
    assert "obsm/other_width is left out" in caplog.text
    assert sorted(found.obsm) == ["X_pca", "X_scrcl", "sparse", "table", "wide"]


def test_layers_of_a_join_are_opened_by_name(tmp_path):
    paths = []
    for seed in (0, 1):
        paths.append(tmp_path / f"{seed}.h5ad")
        sample(seed).write_h5ad(paths[-1])
    joined = open_input(paths)
    assert joined.layers == ("raw", "doubled")
    np.testing.assert_array_equal(
        joined.open_layer("doubled").x(50).compute().toarray(),
        np.vstack([sample(seed).layers["doubled"].toarray() for seed in (0, 1)]),
    )


def test_what_a_result_has_already_stays_without_a_warning(tmp_path, caplog):
    whole = np.arange(60)
    ad.AnnData(np.zeros((120, 40)), obsm={"wide": np.zeros((120, 2))}).write_h5ad(tmp_path / "out")
    with h5py.File(tmp_path / "out", "r+") as target:
        parts = [Kept(sample(seed), whole, 60, None, f"s{seed}") for seed in (0, 1)]
        copy_joined(parts, target, label="both")
    found = ad.read_h5ad(tmp_path / "out").obsm
    assert found["sparse"].shape == (120, 50)
    np.testing.assert_array_equal(found["wide"], np.zeros((120, 2)))
    assert "obsm/wide" not in caplog.text


def test_layers_of_as_many_other_genes_are_left_out(tmp_path, caplog):
    paths = [tmp_path / "0.h5ad", tmp_path / "1.h5ad"]
    for seed, path in enumerate(paths):
        adata = sample(seed)
        adata.raw = adata.copy()
        adata.var_names = [f"other{i}" for i in range(40)]
        adata.write_h5ad(path)
    matrix = open_input(paths, layer="raw")
    assert matrix.n_vars == 40
    assert x_of(matrix, "raw") is None
    with h5py.File(tmp_path / "out", "w") as target:
        write_other_layers(matrix, np.arange(120), target, layer="raw", block_rows=50)
        assert not list(target)
    assert "the result has other genes: X, layers/doubled" in caplog.text
