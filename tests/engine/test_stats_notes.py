"""What the totals of the cells say: mitochondrial genes by name or symbol, and droplets without a cell."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scrcl.engine.load_config import load_config
from scrcl.engine.run import run_files
from scrcl.errors import InputError
from tests.cells import FAST, make_cells


def record_of(adata, folder, **features):
    adata.write_h5ad(folder / "cells.h5ad")
    config = load_config(overrides={**FAST, "device": "cpu", "features": features})
    run_files([folder / "cells.h5ad"], folder / "out", config, until="stats")
    manifest = json.loads((folder / "out/run.json").read_text())
    return next(stage for stage in manifest["stages"] if stage["name"] == "stats")


def named(names, symbols=None):
    adata = make_cells()
    adata.var = pd.DataFrame({} if symbols is None else {"feature_name": symbols}, index=names)
    return adata


SYMBOLS = [
    "MT-CO1",
    "mt-Nd1",
    "MTOR",
    *(f"RPL{i}" for i in range(3, 30)),
    *map("G{}".format, range(120)),
]
IDS = [f"ENSG{i:011d}" for i in range(150)]


@pytest.mark.parametrize(
    "adata",
    [
        named(SYMBOLS),
        named(IDS, SYMBOLS),
        named([f"GRCh38_______{name}" for name in SYMBOLS]),
        named([f"{name}_{i}" for name, i in zip(SYMBOLS, IDS, strict=True)]),
    ],
    ids=["symbols", "ids and a column", "genome", "symbols and ids"],
)  # fmt: skip
def test_mitochondrial_genes_are_found_by_name_or_symbol(tmp_path, adata):
    assert record_of(adata, tmp_path, max_mito=0.9)["n_genes_mitochondrial"] == 2


def test_without_any_the_filter_is_refused(tmp_path):
    with pytest.raises(InputError, match="no name or symbol of a gene begins with 'MT-'"):
        record_of(named(IDS), tmp_path, max_mito=0.9)


def with_droplets(n):
    cells = make_cells()
    cells.X = sparse.csr_matrix(cells.X * 20)
    counts = np.random.default_rng(0).poisson(0.05, (n, cells.n_vars)).astype(np.float32)
    droplets = ad.AnnData(sparse.csr_matrix(counts), var=cells.var)
    droplets.obs_names = [f"droplet{i}" for i in range(n)]
    return ad.concat([cells, droplets])


def test_a_matrix_of_all_droplets_is_said(tmp_path):
    for n, said in ((100, 0), (2_000, 1)):
        folder = tmp_path / str(n)
        folder.mkdir()
        notes = record_of(with_droplets(n), folder)["notes"]
        assert sum("most may be empty droplets" in note for note in notes) == said
