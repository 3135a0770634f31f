from __future__ import annotations

import logging
import shutil
import zipfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scrcl.errors import InputError, StoreError
from scrcl.io import formats
from scrcl.io.annotations import with_unique_names
from scrcl.io.open import from_anndata, open_input
from scrcl.io.rows import canonical_rows
from scrcl.io.stream import iter_rows
from scrcl.prep.compute_stats import compute_stats
from tests.stores import (
    FORMATS,
    random_counts,
    table,
    write_10x,
    write_mtx,
    write_store,
    write_zarr,
)

COUNTS = random_counts(83, 31)
COLUMN_MAJOR = {name for name in FORMATS if "csc" in name or "mtx" in name}


def whole(x):
    return sparse.vstack([block for _, block in iter_rows(x)]).toarray()


def contents(path: Path) -> dict[Path, tuple[bytes, int]]:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows_and_stays_untouched(name, tmp_path):
    filled = np.ones(83)
    filled[[0, 9, 10, 11, 82]] = 0  # empty rows at the borders of blocks of ten
    counts = sparse.csr_matrix(sparse.diags(filled) @ COUNTS, dtype=np.float32)
    counts.eliminate_zeros()
    path = write_store(name, table(counts), tmp_path / "in")
    before = contents(path)
    matrix = open_input([path], scratch=tmp_path / "scratch", block_bytes=20_000)
    for block_rows in (1, 10, 83, 1000):
        x = matrix.x(block_rows)
        assert x.shape == (83, 31)
        for _, block in iter_rows(x):
            assert isinstance(block, sparse.csr_matrix)
            assert block.dtype == np.float32
            assert block.has_canonical_format
            assert block.data.all()
        np.testing.assert_array_equal(whole(x), counts.toarray())
    assert contents(path) == before
    assert list(matrix.obs.index) == [f"cell{i}" for i in range(83)]
    assert list(matrix.var.index) == [f"gene{i}" for i in range(31)]
    assert matrix.nnz == (None if "dense" in name else counts.nnz)
    assert matrix.layout == (
        "csc" if name in COLUMN_MAJOR else "dense" if "dense" in name else "csr"
    )
    assert matrix.identity["shape"] == [83, 31]


@pytest.mark.parametrize("name", sorted(COLUMN_MAJOR))
def test_a_column_major_input_without_scratch_folder_has_only_a_header(name, tmp_path):
    matrix = open_input([write_store(name, table(COUNTS), tmp_path / "in")])
    assert matrix.n_obs == 83
    with pytest.raises(InputError, match="scratch=FOLDER"):
        matrix.x(10)


def test_a_row_major_copy_is_made_once_and_again_after_a_change(tmp_path):
    path = write_store("h5ad csc", table(COUNTS), tmp_path / "in")
    scratch = tmp_path / "scratch"
    whole(open_input([path], scratch=scratch).x(10))
    (first,) = scratch.iterdir()
    stamp = first.stat().st_mtime_ns
    whole(open_input([path], scratch=scratch).x(10))
    assert [p.stat().st_mtime_ns for p in scratch.iterdir()] == [stamp]
    write_store("h5ad csc", table(COUNTS * 2), tmp_path / "in")
    np.testing.assert_array_equal(
        whole(open_input([path], scratch=scratch).x(10)), 2 * COUNTS.toarray()
    )


def test_unsorted_duplicated_and_zero_entries_become_canonical(tmp_path):
    x = sparse.csr_matrix(([1, 2, 3, 0, 5], [2, 0, 2, 1, 1], [0, 3, 5]), shape=(2, 3))
    path = tmp_path / "odd.h5ad"
    table(x.astype(np.float32)).write_h5ad(path)
    ((_, block),) = iter_rows(open_input([path]).x(2))
    np.testing.assert_array_equal(block.toarray(), [[2, 0, 4], [0, 5, 0]])
    assert block.nnz == 3


@pytest.mark.parametrize("store", ["h5ad", "zarr"])
def test_layers_and_raw_are_read_with_their_own_genes(store, tmp_path):
    adata = table(COUNTS[:, :20])
    adata.raw = table(COUNTS)
    adata.layers["twice"] = COUNTS[:, :20] * 2
    path = tmp_path / f"a.{store}"
    adata.write_h5ad(path) if store == "h5ad" else write_zarr(adata, path)
    for source in (
        lambda layer: open_input([path], layer=layer),
        lambda layer: from_anndata(adata, layer=layer),
    ):
        np.testing.assert_array_equal(whole(source("raw").x(10)), COUNTS.toarray())
        assert source("raw").var.index[-1] == "gene30"
        np.testing.assert_array_equal(whole(source("twice").x(10)), 2 * COUNTS[:, :20].toarray())
        with pytest.raises(InputError, match=r"'counts'.*raw, twice"):
            source("counts")


def test_a_file_without_x_names_its_layers(tmp_path):
    adata = ad.AnnData(obs=table(COUNTS).obs, var=table(COUNTS).var, layers={"counts": COUNTS})
    adata.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(InputError, match=r"X.*counts"):
        open_input([tmp_path / "a.h5ad"])


def test_repeated_names_become_unique_with_a_warning(tmp_path, caplog):
    adata = table(COUNTS)
    adata.var.index = ["A", "A", *adata.var_names[2:]]
    adata.write_h5ad(tmp_path / "a.h5ad")
    with caplog.at_level(logging.WARNING):
        matrix = open_input([tmp_path / "a.h5ad"])
    assert list(matrix.var.index[:2]) == ["A", "A-1"]
    assert "1 repeated gene names" in caplog.text


def test_annotations_of_every_type_are_read(tmp_path):
    adata = table(COUNTS)
    adata.obs["cat"] = pd.Categorical(["a", "b", None] + ["a"] * 80)
    adata.obs["maybe"] = pd.array([1, None] + [2] * 81, dtype="Int64")
    adata.obs["flag"] = pd.array([True, None] + [False] * 81, dtype="boolean")
    adata.obsm["spatial"] = np.arange(166.0).reshape(83, 2)
    adata.obsm["X_pca"] = np.zeros((83, 50))
    adata.write_h5ad(tmp_path / "a.h5ad")
    matrix = open_input([tmp_path / "a.h5ad"])
    assert list(matrix.obs["cat"].cat.categories) == ["a", "b"]
    assert matrix.obs["maybe"].isna().sum() == 1
    assert list(matrix.obsm) == ["spatial"]


def test_features_other_than_genes_are_skipped(tmp_path):
    adata = table(COUNTS)
    adata.var["feature_types"] = ["Antibody Capture"] * 3 + ["Gene Expression"] * 28
    for path in (write_10x(adata, tmp_path), write_mtx(adata, tmp_path)):
        matrix = open_input([path], scratch=tmp_path / "scratch")
        assert matrix.n_vars == 28
        np.testing.assert_array_equal(whole(matrix.x(10)), COUNTS[:, 3:].toarray())


def samples(tmp_path):
    one, two = table(COUNTS[:50]), table(COUNTS[50:, ::-1])
    two.var_names = one.var_names[::-1]
    two = two[:, :25].copy()
    for adata in (one, two):
        adata.obsm["spatial"] = np.ones((adata.n_obs, 2))
        adata.obs_names = [f"c{i}" for i in range(adata.n_obs)]
    one.obsm["only"] = np.ones((50, 2))
    one.obs["kind"] = pd.Categorical(["x"] * 50)
    two.obs["kind"] = pd.Categorical(["y"] * 33)
    two.obs["sample"] = "mine"
    one.write_h5ad(tmp_path / "one.h5ad")
    write_zarr(two, tmp_path / "two.zarr")
    return [tmp_path / "one.h5ad", tmp_path / "two.zarr"]


def test_samples_are_joined_on_common_genes(tmp_path):
    matrix = open_input(samples(tmp_path))
    assert list(matrix.var.index) == [f"gene{i}" for i in range(6, 31)]
    np.testing.assert_array_equal(whole(matrix.x(20)), COUNTS[:, 6:].toarray())
    assert list(matrix.obs["sample"].cat.categories) == ["one", "two"]
    assert matrix.obs.index[0] == "c0-one"
    assert matrix.obs.index[-1] == "c32-two"
    assert set(matrix.obs["kind"].cat.categories) == {"x", "y"}
    assert matrix.obs["sample_in_file"].iloc[-1] == "mine"
    assert {key: value.shape for key, value in matrix.obsm.items()} == {"spatial": (83, 2)}


def test_samples_with_the_same_name_are_named_after_their_folders(tmp_path):
    for name in ("s1", "s2"):
        (tmp_path / name).mkdir()
        table(COUNTS).write_h5ad(tmp_path / name / "filtered.h5ad")
    matrix = open_input([tmp_path / "s1/filtered.h5ad", tmp_path / "s2/filtered.h5ad"])
    assert list(matrix.obs["sample"].cat.categories) == ["s1", "s2"]
    assert matrix.obs.index.is_unique


def test_links_keep_their_names_and_a_repeated_file_is_named(tmp_path, caplog):
    table(COUNTS).write_h5ad(tmp_path / "8f3a.h5ad")
    for name in ("one", "two"):
        (tmp_path / f"{name}.h5ad").symlink_to(tmp_path / "8f3a.h5ad")
    matrix = open_input([tmp_path / "one.h5ad", tmp_path / "two.h5ad"])
    assert list(matrix.obs["sample"].cat.categories) == ["one", "two"]
    assert "two.h5ad is given more than once" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("https://a.org/x.h5ad", "https://a.org/x.h5ad. Download"),
        ("a.h5ad.gz", "gunzip"),
        ("a.zip", "unzip"),
    ],
)
def test_an_address_and_a_packed_file_get_advice_that_fits(name, message, tmp_path):
    path = Path(name) if ":" in name else tmp_path / name
    if path.suffix == ".gz":
        path.write_bytes(b"packed")
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("readme", "no store")
    with pytest.raises(StoreError, match=message):
        open_input([path])


def test_samples_without_common_or_with_repeated_genes_are_refused(tmp_path):
    one, two = table(COUNTS), table(COUNTS)
    one.write_h5ad(tmp_path / "one.h5ad")
    two.var_names = [f"ENSG{i}" for i in range(31)]
    two.write_h5ad(tmp_path / "two.h5ad")
    paths = [tmp_path / "one.h5ad", tmp_path / "two.h5ad"]
    with pytest.raises(InputError, match=r"'gene0' in one.h5ad, 'ENSG0' in two"):
        open_input(paths)
    two.var.index = ["A"] * 31
    two.write_h5ad(tmp_path / "two.h5ad")
    with pytest.raises(InputError, match=r"'A' .*two.h5ad"):
        open_input(paths)


@pytest.mark.parametrize("layout", ["csr_matrix", "csc_matrix", "csr_array", "dense", "int64"])
def test_an_object_in_memory_gives_its_rows_and_is_not_changed(layout):
    x = {
        "dense": COUNTS.toarray,
        "int64": lambda: COUNTS.astype(np.int64),
    }.get(layout, lambda: getattr(sparse, layout)(COUNTS))()
    adata = table(COUNTS)
    adata.X = x
    matrix = from_anndata(adata)
    np.testing.assert_array_equal(whole(matrix.x(7)), COUNTS.toarray())
    assert adata.X is x or (x != adata.X).sum() == 0
    assert matrix.label == "AnnData object"


def test_an_object_in_memory_with_unsorted_rows_is_not_sorted_in_place():
    x = sparse.csr_matrix(([1, 2, 3, 0], [2, 0, 2, 1], [0, 2, 4]), shape=(2, 3), dtype=np.float32)
    adata = table(x)
    before = adata.X.data.copy(), adata.X.indices.copy()
    np.testing.assert_array_equal(whole(from_anndata(adata).x(2)), [[2, 0, 1], [0, 0, 3]])
    np.testing.assert_array_equal(canonical_rows(adata.X).toarray(), [[2, 0, 1], [0, 0, 3]])
    np.testing.assert_array_equal(adata.X.data, before[0])
    np.testing.assert_array_equal(adata.X.indices, before[1])


@pytest.mark.parametrize("name", ["h5ad csr gzip", "h5ad dense"])
def test_a_backed_object_is_read_from_its_file(name, tmp_path):
    path = write_store(name, table(COUNTS), tmp_path)
    adata = ad.read_h5ad(path, backed="r")
    matrix = from_anndata(adata)
    np.testing.assert_array_equal(whole(matrix.x(7)), COUNTS.toarray())
    assert matrix.identity == open_input([path]).identity
    with pytest.raises(InputError, match="view of a backed"):
        from_anndata(adata[:10])
    adata.file.close()


def test_the_identity_changes_with_the_values_or_the_file(tmp_path):
    one, same, other = table(COUNTS), table(COUNTS.copy()), table(COUNTS * 2)
    assert from_anndata(one).identity == from_anndata(same).identity
    assert from_anndata(one).identity != from_anndata(other).identity
    one.write_h5ad(tmp_path / "a.h5ad")
    first = open_input([tmp_path / "a.h5ad"]).identity
    assert first == open_input([tmp_path / "a.h5ad"]).identity
    other.write_h5ad(tmp_path / "a.h5ad")
    assert first != open_input([tmp_path / "a.h5ad"]).identity


def break_nothing(folder: Path) -> Path:
    return folder / "missing.h5ad"


def break_cut(folder: Path) -> Path:
    path = write_store("h5ad csr", table(COUNTS), folder)
    path.write_bytes(path.read_bytes()[:5000])
    return path


def break_text(folder: Path) -> Path:
    (folder / "a.h5ad").write_text("not a store")
    return folder / "a.h5ad"


def break_h5(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file["X"] = np.ones((3, 3))
    return folder / "a.h5"


def break_folder(folder: Path) -> Path:
    (folder / "readme.txt").touch()
    return folder


def break_barcodes(folder: Path) -> Path:
    path = write_mtx(table(COUNTS), folder)
    (path / "barcodes.tsv").write_text("one\n")
    return path


def break_names(folder: Path) -> Path:
    path = write_mtx(table(COUNTS), folder)
    (path / "features.tsv").unlink()
    return path


def break_zarr(folder: Path) -> Path:
    path = write_store("zarr v2", table(COUNTS), folder)
    shutil.rmtree(path / "obs")
    return path


def break_chunk(folder: Path) -> Path:
    path = write_store("zarr v3", table(COUNTS), folder)
    (path / "X/data/c/0").unlink()
    return path


def break_matrix(folder: Path) -> Path:
    path = write_store("h5ad csr", table(COUNTS), folder)
    with h5py.File(path, "r+") as file:
        del file["X/data"]
    return path


def break_empty(folder: Path) -> Path:
    table(COUNTS[:0]).write_h5ad(folder / "a.h5ad")
    return folder / "a.h5ad"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_nothing, "must exist"),
        (break_cut, "cut short: .* bytes are there"),
        (break_text, "no HDF5 file"),
        (break_h5, r"a\.h5, an HDF5 file of X"),
        (break_folder, "matrix.mtx.*holds readme.txt"),
        (break_barcodes, "31 genes by 1 cells"),
        (break_names, "features.tsv or genes.tsv"),
        (break_zarr, "obs and var; it holds X"),
        (break_chunk, "1 of 1 chunks of X/data"),
        (break_matrix, "X/data of .* must be a list of numbers; got nothing"),
        (break_empty, "at least one cell"),
    ],
)
def test_an_unreadable_input_is_a_short_error_with_its_cause(damage, message, tmp_path):
    with pytest.raises((InputError, StoreError), match=message) as caught:
        open_input([damage(tmp_path)])
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("writer", [write_10x, write_mtx])
def test_a_format_without_layers_refuses_one(writer, tmp_path):
    with pytest.raises(InputError, match="layer must"):
        open_input([writer(table(COUNTS), tmp_path)], layer="counts")


def test_a_file_from_before_anndata_0_7_is_read():
    folder = Path(find_spec("scanpy").origin).parent
    path = folder / "datasets" / "10x_pbmc68k_reduced.h5ad"
    matrix = open_input([path], layer="raw")
    assert (matrix.n_obs, matrix.n_vars, matrix.label) == (700, 765, path.name)
    assert matrix.obs["bulk_labels"].cat.categories[0] == "CD4+/CD25 T Reg"
    stats = compute_stats(matrix.x(256))
    assert stats.already_log
    scaled = open_input([path])
    with pytest.raises(InputError, match=r"scaled .*`layer` \(raw\)"):
        compute_stats(scaled.x(256), other_layers=scaled.layers)
    with pytest.raises(InputError, match="Layers: raw"):
        open_input([path], layer="counts")


def test_samples_with_repeated_symbols_are_joined_on_gene_ids(tmp_path):
    symbols = ["TBCE", "TBCE", "ACTB", "CD4"]
    var = pd.DataFrame({"gene_ids": list("abcd")}, index=symbols)
    for name, genes in (("one", [0, 1, 2, 3]), ("two", [3, 1, 0])):
        store = tmp_path / f"{name}.h5ad"
        with pytest.warns(UserWarning, match="not unique"):
            ad.AnnData(COUNTS[:, genes].copy(), var=var.iloc[genes]).write_h5ad(store)
    joined = open_input([tmp_path / "one.h5ad", tmp_path / "two.h5ad"])
    assert joined.var["gene_ids"].tolist() == ["a", "b", "d"]
    assert joined.var.index.is_unique
    assert joined.var.index[0] == "TBCE"
    _, block = next(iter_rows(joined.x(1_000)))
    assert np.array_equal(block.toarray(), COUNTS[:, [0, 1, 3]].toarray())


def test_results_of_earlier_joins_can_be_joined_again(tmp_path):
    obs = pd.DataFrame({"sample": ["x"] * 83, "sample_in_file": ["y"] * 83})
    obs.index = obs.index.astype(str)
    for name in ("one", "two"):
        ad.AnnData(COUNTS.copy(), obs=obs).write_h5ad(tmp_path / f"{name}.h5ad")
    joined = open_input([tmp_path / "one.h5ad", tmp_path / "two.h5ad"])
    assert joined.obs["sample"].cat.categories.tolist() == ["one", "two"]
    assert set(joined.obs["sample_in_file_2"]) == {"x"}
    assert set(joined.obs["sample_in_file"]) == {"y"}


def test_a_file_of_its_own_name_has_it_whatever_the_others_are_called(tmp_path):
    paths = [tmp_path / "s1/out.h5ad", tmp_path / "s2/out.h5ad", tmp_path / "own.h5ad"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        table(COUNTS).write_h5ad(path)
    samples = open_input(paths).obs["sample"]
    assert list(samples.cat.categories) == ["s1", "s2", "own"]


@pytest.mark.parametrize("dtype", ["float16", ">f4", ">i2"])
def test_dense_values_of_any_dtype_are_read(tmp_path, dtype):
    adata = ad.AnnData(COUNTS.toarray().astype(dtype))
    adata.write_h5ad(tmp_path / "cells.h5ad")
    _, block = next(iter_rows(open_input([tmp_path / "cells.h5ad"]).x(100)))
    assert np.array_equal(block.toarray(), COUNTS.toarray().astype(dtype).astype(np.float32))


def test_changed_gene_names_change_the_identity_of_an_mtx(tmp_path):
    folder = write_mtx(table(COUNTS), tmp_path)
    before = open_input([folder]).identity
    names = folder / "features.tsv"
    names.write_bytes(names.read_bytes().replace(b"gene3", b"other"))
    assert open_input([folder]).identity != before


def test_the_help_names_every_format_and_every_format_defines_a_reader():
    for each in formats.FORMATS:
        reader = import_module(f"scrcl.io.formats.{each.module}")
        assert callable(reader.recognizes)
        assert callable(reader.open_matrix)
        assert each.text in formats.FORMATS_HELP


def test_genes_and_cells_without_names_are_called_by_their_position(caplog):
    genes = pd.DataFrame({"n": range(4)}, index=["a", "", " ", "unnamed_gene_1"])
    named = with_unique_names(genes, kind="gene", label="x.h5ad")
    assert named.index.tolist() == ["a", "unnamed_gene_1", "unnamed_gene_2", "unnamed_gene_1-1"]
    assert "x.h5ad has 2 genes without a name" in caplog.text
    assert genes.index.tolist()[1] == ""
    cells = with_unique_names(pd.DataFrame(index=["", "", ""]), kind="cell", label="x.h5ad")
    assert cells.index.tolist() == ["unnamed_cell_0", "unnamed_cell_1", "unnamed_cell_2"]
