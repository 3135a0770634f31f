"""Sums of counts by donor and cluster, against sums cell by cell."""

import numpy as np
import pandas as pd
import pytest

from scrcl.io.open import from_anndata
from scrcl.io.stream import Reading
from scrcl.markers.pseudobulk import columns_of_donors, pairs_of, sums_of_groups, table_of_sums
from tests.cells import make_cells

DONORS = np.array([2, 0, -1, 2, 0, 0, 2, 1])
CLUSTERS = np.array([1, 0, 0, 0, -1, 0, 1, -1])
"""Donor 1 has no cell with a cluster."""


def test_pairs_are_those_that_have_cells_ascending_by_donor():
    pairs = pairs_of(DONORS, CLUSTERS)
    assert pairs.codes.tolist() == [2, 0, -1, 1, -1, 0, 2, -1]
    assert pairs.codes.dtype == np.int32
    assert pairs.donors.tolist() == [0, 2, 2]
    assert pairs.clusters.tolist() == [0, 0, 1]


def test_cells_without_a_donor_or_a_cluster_have_no_pairs():
    pairs = pairs_of(np.array([-1, 0]), np.array([0, -1]))
    assert pairs.codes.tolist() == [-1, -1]
    assert len(pairs.donors) == len(pairs.clusters) == 0


@pytest.mark.parametrize(("block", "workers"), [(200, 1), (13, 1), (50, 3)])
def test_sums_are_those_of_the_cells_of_each_group(block, workers):
    cells = make_cells(90, 30)
    groups = np.arange(90) % 5 - 1
    groups[60:] = 2  # the last blocks have one group only
    found = sums_of_groups(from_anndata(cells).x(block), groups, 5, Reading(workers))
    counts = cells.X.toarray().astype(float)
    expected = [counts[groups == group].sum(axis=0) for group in range(5)]
    np.testing.assert_allclose(found, expected)
    assert found[4].sum() == 0
    assert found.dtype == np.float64


def test_the_table_names_and_counts_each_pair():
    pairs = pairs_of(DONORS, CLUSTERS)
    sums = np.arange(6.0).reshape(3, 2)
    obs = pd.DataFrame({"age": [60, 40, 9, 60, 40, 40, 60, 50], "sex": list("fm?fmmfx")})
    of_donors = columns_of_donors(obs, DONORS)
    assert of_donors.to_dict() == {
        "age": {0: 40, 1: 50, 2: 60},
        "sex": {0: "m", 1: "x", 2: "f"},
    }
    without_bob = columns_of_donors(obs, np.where(DONORS == 1, -1, DONORS))
    assert without_bob["sex"].to_dict() == {0: "m", 2: "f"}
    names = (["ann", "bob", "cem"], ["T cell", "B cell"])
    found = table_of_sums(sums, pairs, names, ("donor", "name"), pd.Index(["g", "h"]), of_donors)
    assert found.obs_names.tolist() == ["ann_T cell", "cem_T cell", "cem_B cell"]
    assert found.obs["donor"].tolist() == ["ann", "cem", "cem"]
    assert found.obs["name"].tolist() == ["T cell", "T cell", "B cell"]
    assert found.obs["n_cells"].tolist() == [2, 1, 2]
    assert found.obs["age"].tolist() == [40, 60, 60]
    assert found.obs["sex"].tolist() == ["m", "f", "f"]
    assert found.var_names.tolist() == ["g", "h"]
    np.testing.assert_array_equal(found.X, sums)
