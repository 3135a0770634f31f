"""The slots of an input in a result: cell by cell, in their own dtype, whatever the format."""

import logging
from contextlib import nullcontext

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.tests.helpers import assert_equal
from scipy import sparse

from scrcl.io.formats.element import store_root
from scrcl.io.slots import Kept, copy_images, copy_slots, slot_bytes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of zarr formats

N, GENES = 90, 40


def annotated(seed=0):
    rng = np.random.default_rng(seed)
    x = sparse.random(N, GENES, 0.3, format="csr", rng=rng, dtype=np.float64)
    adata = ad.AnnData(
        x,
        obs=pd.DataFrame(index=[f"c{i}" for i in range(N)]),
        var=pd.DataFrame(index=[f"g{i}" for i in range(GENES)]),
    )
    adata.layers["counts"] = sparse.csc_matrix(x.astype(np.float32) * 3)
    adata.layers["dense"] = rng.random((N, GENES)).astype(np.float16)
    adata.raw = ad.AnnData(
        x[:, :30], var=pd.DataFrame({"n": range(30)}, [f"r{i}" for i in range(30)])
    )
    adata.obsm["X_umap"] = rng.random((N, 2)).astype(np.float32)
    adata.obsm["wide"] = rng.random((N, 30))
    adata.obsm["sparse"] = sparse.random(N, 500, 0.1, format="csr", rng=rng)
    adata.obsm["table"] = pd.DataFrame(rng.random((N, 3)), adata.obs_names, list("abc"))
    adata.varm["PCs"] = rng.random((GENES, 10))
    adata.obsp["csr"] = sparse.random(N, N, 0.1, format="csr", rng=rng)
    adata.obsp["csc"] = sparse.random(N, N, 0.1, format="csc", rng=rng)
    adata.obsp["dense"] = rng.random((N, N))
    adata.varp["genes"] = sparse.random(GENES, GENES, 0.1, format="csr", rng=rng)
    image = rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)
    adata.uns["spatial"] = {f"lib{seed}": {"images": {"hires": image}, "scalefactors": {"f": 0.5}}}
    adata.uns["type_colors"] = ["#ff0000", "#00ff00"]
    return adata


def writable(path):
    if path.suffix == ".h5ad":
        return h5py.File(path, "r+")
    return nullcontext(zarr.open_group(path, mode="r+", use_consolidated=False))


def copied(tmp_path, source, rows, fmt, *, with_values=True, n_vars=GENES):
    """Return a result of the cells ``rows`` with the slots of ``source``."""
    whole = annotated()
    result = ad.AnnData(obs=whole.obs.iloc[rows], var=whole.var)
    path = tmp_path / f"result.{fmt}"
    result.write_h5ad(path) if fmt == "h5ad" else result.write_zarr(path)
    kept = Kept(source, np.asarray(rows), N, n_vars, "cells.h5ad", with_values)
    with (
        h5py.File(path, "r+")
        if fmt == "h5ad"
        else nullcontext(zarr.open_group(path, mode="r+", use_consolidated=False)) as root
    ):
        copy_slots(kept, root)
    if fmt == "zarr":
        zarr.consolidate_metadata(zarr.storage.LocalStore(path))
    return ad.read_h5ad(path) if fmt == "h5ad" else ad.read_zarr(path)


SOURCES = ["memory", "h5ad", "zarr"]


def source_of(tmp_path, kind):
    if kind == "memory":
        return nullcontext(annotated())
    path = tmp_path / f"cells.{kind}"
    annotated().write_h5ad(path) if kind == "h5ad" else annotated().write_zarr(path)
    return store_root(path)


@pytest.mark.parametrize("fmt", ["h5ad", "zarr"])
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize(
    "rows", [np.arange(N), np.flatnonzero(np.arange(N) % 3 != 1)], ids=["all", "some"]
)
def test_every_slot_is_kept(tmp_path, monkeypatch, caplog, kind, rows, fmt):
    monkeypatch.setattr("scrcl.io.copying._BLOCK_BYTES", 2000)  # several blocks
    monkeypatch.setattr("scrcl.io.copying._BLOCK_VALUES", 100)
    with source_of(tmp_path, kind) as source, caplog.at_level(logging.WARNING, "scrcl"):
        found = copied(tmp_path, source, rows, fmt)
    assert not caplog.records
    assert_equal(found, annotated()[rows].copy())


@pytest.mark.parametrize("kind", SOURCES)
def test_values_are_left_out_unless_asked_for(tmp_path, kind):
    with source_of(tmp_path, kind) as source:
        found = copied(tmp_path, source, np.arange(N), "h5ad", with_values=False)
    assert found.X is None
    assert found.raw is None
    assert not found.layers
    assert "wide" in found.obsm


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_a_slot_of_another_length_is_left_out(tmp_path, caplog, kind):
    path = tmp_path / f"cells.{kind}"
    annotated().write_h5ad(path) if kind == "h5ad" else annotated().write_zarr(path)
    writable = (
        h5py.File(path, "r+")
        if kind == "h5ad"
        else nullcontext(zarr.open_group(path, mode="r+", use_consolidated=False))
    )
    with writable as root:
        attributes = dict(root["obsm/wide"].attrs)
        del root["obsm/wide"]
        short = root["obsm"].create_dataset if kind == "h5ad" else root["obsm"].create_array
        short("wide", data=np.zeros((N - 1, 30)))
        root["obsm/wide"].attrs.update(attributes)
        root["uns/type_colors"].attrs["encoding-type"] = "of-the-future"
    rows = np.arange(0, N, 2)
    with store_root(path) as source, caplog.at_level(logging.WARNING, "scrcl"):
        found = copied(tmp_path, source, rows, "zarr" if kind == "h5ad" else "h5ad")
    assert "obsm/wide is left out" in caplog.text
    assert "uns/type_colors is left out" in caplog.text
    assert sorted(found.obsm) == ["X_umap", "sparse", "table"]
    assert "spatial" in found.uns


def _unknown(root):
    root["uns/spatial/lib0"].attrs["encoding-type"] = "of-the-future"


def _short_layer(root):
    values, attributes = (
        root["layers/counts/indices"][:9],
        dict(root["layers/counts/indices"].attrs),
    )
    del root["layers/counts/indices"]
    root["layers/counts/indices"] = values
    root["layers/counts/indices"].attrs.update(attributes)


def _short_raw(root):
    root["raw/X"].attrs["shape"] = [N - 1, 30]


@pytest.mark.parametrize(
    ("damage", "name"),
    [(_unknown, "uns/spatial"), (_short_layer, "layers/counts"), (_short_raw, "raw")],
)
def test_a_slot_that_would_make_the_result_unreadable_is_left_out(tmp_path, caplog, damage, name):
    path = tmp_path / "cells.h5ad"
    annotated().write_h5ad(path)
    with h5py.File(path, "r+") as root:
        damage(root)
    with store_root(path) as source:
        found = copied(tmp_path, source, np.arange(N), "h5ad")
    assert f"{name} is left out" in caplog.text
    assert found.layers["dense"].shape == (N, GENES)


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_a_store_without_raw_has_nothing_that_is_left_out(tmp_path, caplog, kind):
    path = tmp_path / f"cells.{kind}"
    plain = ad.AnnData(annotated().X, annotated().obs, annotated().var)
    plain.write_h5ad(path) if kind == "h5ad" else plain.write_zarr(path)
    with store_root(path) as source:
        found = copied(tmp_path, source, np.arange(N), kind)
    assert not caplog.records
    assert found.raw is None


def test_an_image_that_cannot_be_read_is_left_out_of_several(tmp_path, caplog):
    path = tmp_path / "cells.h5ad"
    annotated().write_h5ad(path)
    ad.AnnData(obs=annotated().obs).write_h5ad(tmp_path / "result.h5ad")
    with h5py.File(path, "r+") as root, h5py.File(tmp_path / "result.h5ad", "r+") as target:
        _unknown(root)
        copy_images([root, annotated(1)], target)
    assert list(ad.read_h5ad(tmp_path / "result.h5ad").uns["spatial"]) == ["lib1"]
    assert "uns/spatial/lib0 is left out" in caplog.text


def test_what_the_result_has_already_is_left_as_it_is(tmp_path):
    source = annotated()
    source.obsm["X_scrcl"] = np.zeros((N, 2))
    path = tmp_path / "result.h5ad"
    ad.AnnData(obs=source.obs, obsm={"X_scrcl": np.ones((N, 3))}).write_h5ad(path)
    with h5py.File(path, "r+") as root:
        copy_slots(Kept(source, np.arange(N), N, None, "cells.h5ad"), root)
    assert ad.read_h5ad(path).obsm["X_scrcl"].all()


def test_what_an_earlier_run_wrote_is_not_kept(tmp_path):
    source, path = annotated(), tmp_path / "result.h5ad"
    source.obsm["X_pca"] = np.zeros((N, 2))
    source.uns["X_pca"] = "of the user"
    source.uns["scrcl"] = {"obsm_keys": np.array(["X_pca"])}
    ad.AnnData(obs=source.obs).write_h5ad(path)
    with h5py.File(path, "r+") as root:
        copy_slots(Kept(source, np.arange(N), N, None, "cells.h5ad"), root)
    found = ad.read_h5ad(path)
    assert "X_pca" not in found.obsm
    assert found.uns["X_pca"] == "of the user"


def test_images_of_several_samples_stand_side_by_side(tmp_path):
    path = tmp_path / "result.h5ad"
    ad.AnnData(obs=annotated().obs).write_h5ad(path)
    with h5py.File(path, "r+") as root:
        copy_images([annotated(0), annotated(1)], root)
    spatial = ad.read_h5ad(path).uns["spatial"]
    for seed in (0, 1):
        expected = annotated(seed).uns["spatial"][f"lib{seed}"]["images"]["hires"]
        np.testing.assert_array_equal(spatial[f"lib{seed}"]["images"]["hires"], expected)


def test_room_is_asked_for(tmp_path):
    kept = Kept(annotated(), np.arange(N), N, GENES, "cells.h5ad")
    assert slot_bytes(kept) >= annotated().obsm["wide"].nbytes + annotated().obsp["dense"].nbytes


def test_slots_that_cannot_be_opened_are_left_out(tmp_path, caplog):
    path = tmp_path / "cells.zarr"
    annotated().write_zarr(path)
    for name in ("obsm/wide/.zarray", "varm/.zgroup", "raw/.zgroup", "uns/spatial/.zgroup"):
        (path / name).write_bytes(b"\x9d{")
    with store_root(path) as source:
        assert slot_bytes(Kept(source, np.arange(N), N, GENES, "cells.zarr", True)) > 0
        found = copied(tmp_path, source, np.arange(N), "h5ad")
    for name in ("obsm", "varm", "raw", "uns"):  # zarr lists no group that has a damaged member
        assert f"{name} is left out, because it cannot be read" in caplog.text
        assert not getattr(found, name)
    assert sorted(found.obsp) == ["csc", "csr", "dense"]
    assert found.X is not None


@pytest.mark.parametrize("fmt", ["h5ad", "zarr"])
def test_a_store_that_says_it_has_no_raw_needs_no_warning(tmp_path, fmt, caplog):
    adata = annotated()
    adata.raw = None
    adata.write_zarr(tmp_path / "cells.zarr")
    with store_root(tmp_path / "cells.zarr") as source:
        assert "raw" in source
        found = copied(tmp_path, source, range(5), fmt)
    assert found.raw is None
    assert not caplog.records
