"""Genes of new cells are those of the run: by name, and by id where a name repeats."""

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
def test_genes_of_one_name_without_ids_are_refused_unless_in_the_same_order(run):
    opened = open_run(run)
    other = cells(ids=False)
    with pytest.raises(InputError, match=r"'DUP' more than once, and the new cells without unique"):
        shared_genes(from_anndata(other[:, ::-1]), opened)
    same = shared_genes(from_anndata(other), opened)
    np.testing.assert_array_equal(same.columns, np.arange(other.n_vars))
    repeated = cells()
    repeated.var["gene_ids"] = ["ENSG00000"] * 2 + list(repeated.var["gene_ids"][2:])
    with pytest.raises(InputError, match="without unique"):
        shared_genes(from_anndata(repeated[:, ::-1]), opened)
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
