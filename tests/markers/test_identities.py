"""By what else than its name a gene is known: only values that one gene has are used."""

import pandas as pd
import pytest

from scrcl.io.gene_names import id_in
from scrcl.markers.identities import identities, matches

IDS = ["ENSG00000167526.4", "ENSG00000198851", "ENSG00000075624"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("ENSG00000167286.9", "ENSG00000167286"),
        ("ENSMUSG00000032094_Cd3d", "ENSMUSG00000032094"),
        ("RP11-34P13.7_ENSG00000239945.1", "ENSG00000239945"),
        ("ENSG00000182378.15_PAR_Y", "ENSG00000182378_PAR_Y"),
        ("FBgn0031208", "FBgn0031208"),
        ("CD3D", ""),
        ("7157", ""),
    ],
)
def test_the_id_in_a_name_has_no_version(name, found):
    assert id_in(name) == found


def test_ids_and_symbols_are_found_in_names_and_columns():
    known = identities(pd.DataFrame({"n": [1, 2, 3], "symbol": ["RPL13", "CD3E", None]}, index=IDS))
    assert (known["id"].column, known["symbol"].column) == (None, "symbol")
    assert list(known["symbol"].values) == ["RPL13", "CD3E", ""]
    assert list(known["symbol"].is_clear) == [True, True, False]
    joined = identities(pd.DataFrame(index=["RPL13_ENSG00000167526", "CD3E_ENSG00000198851"]))
    assert list(joined["id"].values) == ["ENSG00000167526", "ENSG00000198851"]
    assert list(joined["symbol"].values) == ["RPL13", "CD3E"]
    assert list(identities(pd.DataFrame(index=IDS))) == ["id"]
    assert list(identities(pd.DataFrame(index=["RPL13", "CD3E"]))) == ["symbol"]


def test_names_of_two_genes_are_left_out_also_where_a_suffix_made_them_unique():
    names = ["A", "B", "B-1", "C", "C.1", "D-1", "E", "E-1"]
    known = identities(pd.DataFrame(index=names), repeated=("E", "E-1"))["symbol"]
    assert list(known.values[known.is_clear]) == ["A", "D-1"]
    twice = pd.DataFrame({"gene_name": ["A", "D-1", "D-1"]}, index=IDS)
    (found,) = matches(identities(twice), {"symbol": known})
    assert found.where.tolist() == [0, -1, -1]
