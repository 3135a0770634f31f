"""The cells that are looked at to find clusters."""

import numpy as np

from scrcl.cluster.protocol import Spaces
from scrcl.cluster.settings import ClusterSettings
from scrcl.cluster.supported import Supported, Voters
from tests.cluster.test_rare_regions import N_RARE, atlas


def voters(n_cells=4_000, *, nearest=True, **settings):
    points, _, near = atlas(n_cells)
    spaces = Spaces(points, points, nearest=near if nearest else None)
    return Voters.of(spaces, ClusterSettings(**settings), 0), len(points)


def test_all_cells_vote_if_they_are_few():
    found, n_cells = voters(600, vote_cells=1_000)
    np.testing.assert_array_equal(found.cells, np.arange(n_cells))
    assert found.is_drawn.all()
    assert (found.cores == -1).all()


def test_cells_of_rare_regions_are_looked_at_but_do_not_vote():
    found, n_cells = voters(vote_cells=1_000)
    assert found.is_drawn.sum() == 1_000
    rare = np.isin(found.cells, np.arange(n_cells - N_RARE, n_cells))
    assert rare.sum() == N_RARE
    assert len(set(found.cores[rare])) == 1
    assert found.cores[rare].min() >= 0
    # Regions have half as many cells as are drawn, at most.
    assert 0 < (~found.is_drawn).sum() <= 500


def test_only_drawn_cells_are_looked_at_without_the_search_for_rare_types():
    for options in ({"rare_cells": 0}, {"nearest": False}):
        found, _ = voters(vote_cells=1_000, **options)
        assert len(found.cells) == 1_000
        assert found.is_drawn.all()
        assert (found.cores == -1).all()


def test_no_cell_joins_a_rare_type_that_was_found_in_rare_regions():
    # Clusters of 20, 6, 6 and 6 cells, of which 20, 1, 3 and 1 were drawn; the last two are rare types.
    labels = np.repeat([0, 1, 2, 3], [20, 6, 6, 6])
    is_drawn = np.ones(len(labels), bool)
    is_drawn[[20, 21, 22, 23, 24, 26, 27, 28, 32, 33, 34, 35, 36]] = False
    who = Voters(np.arange(len(labels)), is_drawn, np.full(len(labels), -1))
    found = Supported(who, None, None, labels, n_rare=2)
    assert found.n_clusters == 4
    # Half of the cells of the third were drawn: all of its cells may not have been in the regions.
    assert found.found_whole().tolist() == [False, False, False, True]
