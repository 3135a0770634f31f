"""How genes are listed: by symbols where var has them, and without some kinds in short lists."""

import numpy as np
import pandas as pd
import pytest

from scrcl.io.gene_names import symbol_in
from scrcl.markers.listed import (
    ListedGenes,
    first_genes,
    id_that_is_shown,
    shown_genes,
    symbol_column,
)

IDS = ["ENSG00000167526", "ENSG00000198851", "ENSG00000075624"]
SYMBOLS = ["RPL13", "CD3E", "ACTB"]
FISH = ["ENSDARG00000100660", "ENSDARG00000100422", "ENSDARG00000103095"]


@pytest.mark.parametrize(
    ("index", "columns", "expected"),
    [
        (IDS, {"n": [1, 2, 3], "own name": SYMBOLS}, "own name"),
        (SYMBOLS, {"feature_name": SYMBOLS}, None),
        (SYMBOLS, {"gene_ids": IDS}, None),
        (IDS, {"biotype": ["coding"] * 3, "gene_name": IDS}, None),
        (FISH, {"chromosome": ["1", "2", "3"], "Gene_Name": ["gata1a", "runx1", "kdrl"]}, "Gene_Name"),
        (["g1", "g2", "g3"], {"other": ["a", "b", "c"]}, None),
    ],
)  # fmt: skip
def test_the_column_of_symbols_is_found_by_what_it_holds_or_by_its_name(index, columns, expected):
    assert symbol_column(pd.DataFrame(columns, index=index)) == expected


def test_genes_are_shown_by_symbol_or_else_by_name_and_found_by_both():
    symbols = pd.Categorical(["RPL13", None, "ACTB"])
    genes = ListedGenes.of_var(pd.DataFrame({"symbol": symbols}, index=IDS))
    assert genes.shown() == ["RPL13", IDS[1], "ACTB"]
    assert list(genes.kinds) == ["ribosomal", "", "housekeeping"]
    assert genes.positions(["ACTB", IDS[1], "CD3E"]) == {"ACTB": 2, IDS[1]: 1}
    assert list(genes.columns()) == ["gene", "symbol", "kind"]
    assert shown_genes(pd.DataFrame(genes.at(np.array([1, 2])).columns())) == [IDS[1], "ACTB"]
    plain = ListedGenes.of_var(pd.DataFrame(index=SYMBOLS))
    assert list(plain.columns()) == ["gene", "kind"]
    assert plain.shown() == SYMBOLS


def test_names_that_join_a_symbol_and_an_id_are_shown_and_judged_by_the_symbol():
    names = ["RPL13_ENSG00000167526", "CD3E", "GRCh38_ACTB", "ENSMUSG00000032094"]
    genes = ListedGenes.of_var(pd.DataFrame(index=names))
    assert genes.shown() == ["RPL13", "CD3E", "ACTB", "ENSMUSG00000032094"]
    assert list(genes.kinds) == ["ribosomal", "", "housekeeping", ""]
    assert genes.positions(["RPL13", names[0], "CD3E"]) == {"RPL13": 0, names[0]: 0, "CD3E": 1}
    assert list(genes.columns()["gene"]) == names


@pytest.mark.parametrize(
    ("index", "columns", "first"),
    [
        (IDS, {}, IDS[0]),
        (["7157", "1956", "915"], {"biotype": ["coding"] * 3}, "7157"),
        (IDS, {"gene_symbols": SYMBOLS}, None),
        (["CD3E_ENSG00000198851", *IDS], {}, None),
        (SYMBOLS, {"gene_ids": IDS}, None),
    ],
)
def test_genes_without_symbols_are_shown_by_ids(index, columns, first):
    assert id_that_is_shown(pd.DataFrame(columns, index=index)) == first


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("HLA-DRA_ENSG00000204287", "HLA-DRA"),
        ("RP11-34P13.7_ENSG00000239945.1", "RP11-34P13.7"),
        ("ENSMUSG00000032094_Cd3d", "Cd3d"),
        ("mm10___Cd3d", "Cd3d"),
        ("hg19_HLA-B", "HLA-B"),
        ("ENSG00000167286", "ENSG00000167286"),
        ("ENSG00000182378.15_PAR_Y", "ENSG00000182378.15_PAR_Y"),
        ("NKX2-1", "NKX2-1"),
        ("A_ENSG12", "A_ENSG12"),
    ],
)
def test_the_symbol_in_a_name_is_what_an_id_or_a_genome_leaves(name, symbol):
    assert symbol_in(name) == symbol


def test_short_lists_leave_out_ribosomal_and_mitochondrial_genes_but_where_there_are_no_others():
    genes = ["RPS12", "CD3D", "MT-CO1", "ACTB", "LTB", "RPL3", "RPL4"]
    kinds = ["ribosomal", "", "mitochondrial", "housekeeping", "", "ribosomal", "ribosomal"]
    markers = pd.DataFrame({"cluster": [0] * 5 + [1] * 2, "rank": [0, 1, 2, 3, 4, 0, 1]})
    markers = markers.assign(gene=genes, kind=kinds)
    assert first_genes(markers, 1) == {0: (("CD3D",), 1), 1: (("RPL3",), 0)}
    assert first_genes(markers, 2) == {0: (("CD3D", "ACTB"), 2), 1: (("RPL3", "RPL4"), 0)}
    assert first_genes(markers.iloc[:0], 2) == {}
