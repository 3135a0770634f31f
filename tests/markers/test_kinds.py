"""Genes that rarely mark a type, by their symbols."""

import pytest

from scrcl.markers.kinds import gene_kinds


@pytest.mark.parametrize(
    ("symbols", "kind"),
    [
        (["MT-CO1", "mt-Nd4l"], "mitochondrial"),
        (
            ["RPL13A", "Rpl22l1", "RPS4Y1", "RPS4X", "RPLP0", "Rpsa", "RPL36AL", "UBA52"],
            "ribosomal",
        ),
        (["ACTB", "Gapdh", "EEF1A1", "Malat1", "C1orf43"], "housekeeping"),
        (["CD3E", "RPS6KA1", "RPS6KL1", "MRPL1", "RPS19BP1", "MTOR", "ENSG00000231500", "NA"], ""),
    ],
)
def test_symbols_of_human_and_mouse_have_their_kind(symbols, kind):
    assert list(gene_kinds(symbols)) == [kind] * len(symbols)
