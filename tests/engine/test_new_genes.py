"""Genes of new cells are those of the run: by name, by id where a name repeats, or by what else both sides have."""

import re

import anndata as ad
import numpy as np
import pytest

from scrcl.engine.load_config import load_config
from scrcl.engine.new_genes import shared_genes
from scrcl.engine.open_run import open_run
from scrcl.engine.predict import predict_files, run_for_prediction
from scrcl.engine.run import run_files
from scrcl.errors import InputError
from scrcl.io.open import from_anndata, open_input
from tests.cells import FAST, make_cells


def cells(*, ids=True):
    adata = make_cells()
    adata.var_names = ["DUP", *adata.var_names[1:-1], "DUP"]
    if ids:
        adata.var["gene_ids"] = [f"ENSG{i:05d}" for i in range(adata.n_vars)]
    return adata


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    cells().write_h5ad(folder / "cells.h5ad")
    config = load_config(overrides={**FAST, "n_clusters": 4, "device": "cpu", "format": "zarr"})
    run_files([folder / "cells.h5ad"], folder / "out", config)
    return folder / "out"


@pytest.mark.filterwarnings("ignore::UserWarning")  # names that repeat
def test_genes_of_one_name_are_matched_by_id(run, tmp_path):
    cells()[:, ::-1].write_h5ad(tmp_path / "other.h5ad")
    opened = run_for_prediction(run, {"format": "h5ad"})
    path = predict_files(opened, [tmp_path / "other.h5ad"], tmp_path / "new").result_path
    found = ad.read_h5ad(path)
    old = np.asarray(open_run(run).components)
    np.testing.assert_allclose(found.obsm["X_pca"], old, atol=1e-4 * np.abs(old).max())
    selected = open_run(run).var["highly_variable"].to_numpy()
    np.testing.assert_array_equal(found.var["highly_variable"], selected[::-1])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_genes_of_one_name_without_ids_count_as_missing_unless_in_the_same_order(run):
    opened = open_run(run)
    other = cells(ids=False)
    n_selected = int(opened.var["highly_variable"].sum())
    unclear = opened.var["highly_variable"].to_numpy()[[0, -1]].sum()
    assert unclear  # at least one of the two was selected
    found = shared_genes(from_anndata(other[:, ::-1]), opened)
    assert found.n_missing == unclear
    np.testing.assert_array_equal(found.columns, np.arange(1, other.n_vars - 1)[::-1])
    assert f"{unclear} of the run's {n_selected} selected genes" in found.matched_by
    assert "(DUP" in found.matched_by
    assert "without unique var['gene_ids'] in the new cells to know" in found.matched_by
    same = shared_genes(from_anndata(other), opened)
    np.testing.assert_array_equal(same.columns, np.arange(other.n_vars))
    assert same.matched_by == ""
    repeated = cells()
    repeated.var["gene_ids"] = ["ENSG00000"] * 2 + list(repeated.var["gene_ids"][2:])
    assert shared_genes(from_anndata(repeated[:, ::-1]), opened).n_missing == unclear
    lacks = shared_genes(from_anndata(other[:, 1:-1]), opened)  # neither of the two
    assert (lacks.n_missing, lacks.matched_by) == (unclear, "")
    only = cells()[:, 1:]  # the second of the two has its own name here
    found = shared_genes(from_anndata(only), opened)
    np.testing.assert_array_equal(found.columns, np.arange(only.n_vars))
    assert not found.present[0]


@pytest.mark.filterwarnings("ignore::UserWarning")  # names that repeat
def test_too_few_genes_are_counted_and_names_of_another_kind_are_shown(run):
    opened = open_run(run)
    with pytest.raises(
        InputError, match=r"; got 60\. 90 are missing \(DUP, gene1, gene2, \.\.\.\)\. Use"
    ):
        shared_genes(from_anndata(cells()[:, 90:]), opened)
    with pytest.raises(InputError, match="'DUP', the new cells have 'gene140': use the same kind"):
        shared_genes(from_anndata(cells()[:, 140:-1]), opened)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_names_that_differ_in_case_alone_are_told_apart_from_other_kinds(run):
    new = cells()
    new.var_names = [name.capitalize() for name in new.var_names]
    with pytest.raises(InputError, match=r"has 'gene1', .* have 'Gene1': .*upper and lower case"):
        shared_genes(from_anndata(new[:, 1:-1].copy()), open_run(run))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_antibodies_take_no_name_from_a_gene_in_memory_or_in_a_file(tmp_path):
    adata = cells()
    adata.var["feature_types"] = ["Antibody Capture", *["Gene Expression"] * (adata.n_vars - 1)]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    for matrix in (from_anndata(adata), open_input([tmp_path / "cells.h5ad"])):
        assert matrix.var.index[-1] == "DUP"
        assert matrix.repeated_genes == ()


SYMBOLS = [f"Gn{i}" for i in range(148)] + ["TWICE", "TWICE"]


def ids(version=""):
    return [f"ENSG{i:011d}{version}" for i in range(150)]


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    """A run whose genes have ids with versions for names, and symbols in a column."""
    folder = tmp_path_factory.mktemp("atlas")
    adata = make_cells()
    adata.var_names, adata.var["feature_name"] = ids(".7"), SYMBOLS
    adata.write_h5ad(folder / "cells.h5ad")
    config = load_config(overrides={**FAST, "n_clusters": 4, "device": "cpu"})
    run_files([folder / "cells.h5ad"], folder / "out", config)
    return open_run(folder / "out")


def named(names, **columns):
    adata = make_cells()
    adata.var_names = names
    for column, values in columns.items():
        adata.var[column] = values
    return adata[:, ::-1].copy()


UNIQUE = [*SYMBOLS[:-1], "TWICE-1"]


@pytest.mark.parametrize(
    ("new", "said", "n_found"),
    [
        (named(UNIQUE), r"symbol \(var\['feature_name'\] of the run, the names of", 148),
        (named([*SYMBOLS[:-2], "TWICE", "Gn"]), r"symbol \(.*: 148 .* One symbol that more", 148),
        (named(ids()), r"id without version \(the names of the run, the names of", 150),
        (named(ids(".12"), gene_name=SYMBOLS), r"by id without version .* 150 were found\.$", 150),
        (
            named([f"n{i}" for i in range(150)], gene_symbols=SYMBOLS),
            r"var\['gene_symbols'\] of the new",
            148,
        ),
        (
            named([f"n{i}" for i in range(150)], ens=ids()),
            r"the names of the run, var\['ens'\] of the new",
            150,
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # names that repeat
def test_genes_that_names_do_not_match_are_matched_by_what_both_sides_have(
    atlas, new, said, n_found
):
    found = shared_genes(from_anndata(new), atlas)
    assert re.search(said, found.matched_by)
    assert "names match for only 0 of the run's 150 selected genes" in found.matched_by
    np.testing.assert_array_equal(found.columns, 149 - np.arange(n_found))
    assert found.present.sum() == n_found


def test_cells_with_symbols_are_predicted_as_those_with_ids_and_one_note_says_so(atlas, tmp_path):
    results = []
    for name, names in (("ids", ids(".7")), ("symbols", UNIQUE)):
        cells = named(names)[:, 2:] if name == "ids" else named(names)  # without the symbol of two
        cells.write_h5ad(tmp_path / f"{name}.h5ad")
        opened = run_for_prediction(atlas.path, {})
        path = predict_files(opened, [tmp_path / f"{name}.h5ad"], tmp_path / name).result_path
        results.append(ad.read_h5ad(path))
    by_id, by_symbol = results
    np.testing.assert_array_equal(by_symbol.obsm["X_pca"], by_id.obsm["X_pca"])
    assert by_symbol.obs["scrcl"].tolist() == by_id.obs["scrcl"].tolist()
    notes = [[note for note in each.uns["scrcl"]["notes"] if "matched" in note] for each in results]
    assert [len(each) for each in notes] == [0, 1]
    assert "matched by symbol" in (tmp_path / "symbols" / "report.html").read_text()


def test_where_nothing_matches_it_is_said_what_was_tried(atlas):
    other = named([f"ENSMUSG{i:011d}" for i in range(150)], symbol=[s.lower() for s in SYMBOLS])
    with pytest.raises(
        InputError,
        match=r"; got 0 by name, 0 by id without version \(.*\), 0 by symbol \(var\['feature_name'\] of the run, "
        r"var\['symbol'\] of the new cells\)\. The run has 'ENSG.*, the new cells have 'ENSMUSG.*: use",
    ):
        shared_genes(from_anndata(other), atlas)
