"""What the model says about genes, in a run."""

import anndata
import numpy as np
import pandas as pd

from scrcl.engine.open_run import open_run
from scrcl.engine.run import run_files
from scrcl.engine.stages.associations import AssociationsStage
from scrcl.graph.artifacts import GENE_GRAPH
from scrcl.graph.modules import gene_modules
from tests.cells import make_cells


def test_associations_and_modules_are_in_out_the_result_and_the_report(tmp_path, config):
    adata = make_cells()
    adata.var_names = ["RPL13", "=1+1", *adata.var_names[2:]]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    result = run_files([tmp_path / "cells.h5ad"], tmp_path / "out", config)
    run, found = open_run(result.out), anndata.read_h5ad(result.result_path)
    table = pd.read_csv(result.out / "gene_associations.csv", keep_default_na=False)
    assert table["gene"].isin(["'=1+1"]).any()
    assert not table["gene"].isin(["=1+1"]).any()
    assert set(table["kind"][table["gene"] == "RPL13"]) == {"ribosomal"}
    assert set(table["cluster"]) == {0, 1, 2, 3}
    selected = found.var["highly_variable"].to_numpy()
    modules = found.var["scrcl_module"].to_numpy()
    assert (modules[~selected] == -1).all()
    expected = gene_modules(run.open(GENE_GRAPH), seed=config.seed)
    np.testing.assert_array_equal(modules[selected], expected)
    assert run.record(AssociationsStage).n_modules == expected.max() + 1
    assert len(found.uns["scrcl"]["associations"]) == len(table)
    # What the model says of a gene agrees with its expression, on cells with clear types.
    share = (table["marker_rank"] >= 0)[table["rank"] < 5].mean()
    assert share > 0.8
    assert "Genes by the model" in result.report_path.read_text()


def test_a_method_without_vectors_of_genes_leaves_only_modules(
    tmp_path, cells, config, monkeypatch
):
    from scrcl.train.method import Method
    from scrcl.train.methods.scrcl.method import ScrclMethod

    monkeypatch.setattr(ScrclMethod, "gene_vectors", Method.gene_vectors)
    result = run_files([cells], tmp_path / "out", config)
    assert not (result.out / "gene_associations.csv").exists()
    found = anndata.read_h5ad(result.result_path)
    assert "associations" not in found.uns["scrcl"]
    assert found.var["scrcl_module"].max() >= 0
    assert "Genes by the model" not in result.report_path.read_text()


def test_genes_that_rarely_mark_a_type_have_a_column_only_if_there_are_some(
    tmp_path, cells, config
):
    out = run_files([cells], tmp_path / "out", config).out
    path = next((out / "stages" / AssociationsStage.name).glob("*.csv"))
    table, stage = pd.read_csv(path, keep_default_na=False), AssociationsStage()
    for kind, more in (("", []), ("ribosomal", ["rarely mark a type"])):
        table["kind"] = kind
        table.to_csv(path, index=False)
        shown = stage.section(open_run(out)).table
        assert [column.name for column in shown.columns][3:] == more
        assert {len(row) for row in shown.rows} == {3 + len(more)}
