"""What a run says at its start of the names of genes: genes as rows, and ids without symbols."""

import json

import pytest

from scrcl.engine.load_config import load_config
from scrcl.engine.orientation import rows_note
from scrcl.engine.run import STAGES, run_files
from scrcl.engine.stages.read import ReadStage
from scrcl.io.open import from_anndata
from tests.stores import random_counts, table

SYMBOLS = [*(f"RPL{i}" for i in range(3, 20)), "MT-ND1", "ACTB", "Gapdh", "CD3E", "X1"]


@pytest.mark.parametrize(
    "names",
    [SYMBOLS, [f"ENSMUSG{i:011d}.2" for i in range(22)], [f"WBGene{i:08d}" for i in range(22)]],
)
def test_genes_as_rows_are_said_and_cells_as_rows_are_not(names):
    cells = table(random_counts(30, 22))
    cells.var_names = names
    assert rows_note(from_anndata(cells)) is None
    note = rows_note(from_anndata(cells.T.copy()))
    assert note is not None
    assert f"such as {names[0]}" in note


def test_a_few_names_of_genes_say_nothing():
    cells = table(random_counts(22, 30))
    cells.obs_names = ["ACTB", "GAPDH", *(f"cell{i}" for i in range(20))]
    assert rows_note(from_anndata(cells)) is None


def test_a_run_says_it_at_once(tmp_path):
    cells = table(random_counts(60, 40))
    cells.obs_names = [*(f"RPL{i}" for i in range(3, 43)), *(f"gene{i}" for i in range(20))]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    run_files([tmp_path / "cells.h5ad"], tmp_path / "out", load_config(), stages=STAGES[:1])
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    notes = manifest["stages"][0]["notes"]
    assert any("cells and genes may be exchanged" in note for note in notes)


@pytest.mark.parametrize("shows_genes", [True, False])
def test_a_run_without_symbols_says_that_genes_are_shown_by_ids(tmp_path, shows_genes):
    cells = table(random_counts(60, 40))
    cells.var_names = [f"ENSG{i:011d}" for i in range(40)]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    stage = ReadStage() if shows_genes else ReadStage().for_new_cells(None)
    run_files([tmp_path / "cells.h5ad"], tmp_path / "out", load_config(), stages=(stage,))
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    found = [
        note
        for note in manifest["stages"][0]["notes"]
        if "shown by their ids, such as ENSG00000000000" in note
    ]
    assert len(found) == shows_genes
