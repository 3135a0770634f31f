"""The cluster that comes next by a marker gene."""

import numpy as np
import pandas as pd
import pytest

from scrcl.markers.next_clusters import NEXT_COLUMNS, with_next
from scrcl.markers.profiles import Profiles

GENES = pd.Index(["alone", "shared", "silent"])
MEAN = np.array([[2.0, 0.1, 0.2], [1.0, 0.1, 1.0], [0.5, 0.0, 0.0]], np.float32)
SHARE = np.array([[0.9, 0.05, 0.1], [0.8, 0.1, 0.7], [0.4, 0.0, 0.0]], np.float32)


def profiles(cells=(50, 40, 5)):
    return Profiles(np.array(cells), MEAN, SHARE, np.ones(3, np.float32))


def table(rows):
    gene, cluster = zip(*rows, strict=True)
    return pd.DataFrame({"cluster": cluster, "gene": gene, "share_out": 0.1, "kind": ""})


def test_the_next_cluster_has_the_largest_mean_of_the_others():
    found = with_next(table([("alone", 0), ("shared", 0), ("shared", 2)]), profiles(), GENES)
    assert list(found) == ["cluster", "gene", "share_out", *NEXT_COLUMNS, "kind"]
    assert found["next_cluster"].tolist() == [2, 2, 0]
    assert found["share_next"].tolist() == pytest.approx([0.1, 0.7, 0.8])
    alone = np.log2(np.expm1(2.0) / np.expm1(0.2))
    assert found["next_fold_change"].tolist() == pytest.approx([alone, 0, 0], abs=1e-4)


def test_a_cluster_without_cells_is_never_next():
    found = with_next(table([("alone", 0)]), profiles(cells=(50, 40, 0)), GENES)
    assert found["next_cluster"].tolist() == [1]


def test_a_table_without_genes_has_the_columns():
    found = with_next(table([("alone", 0)]).head(0), profiles(), GENES)
    assert not len(found)
    assert set(NEXT_COLUMNS) <= set(found)
