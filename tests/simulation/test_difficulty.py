"""Simulated atlases whose types are hard to tell apart."""

import numpy as np
import pytest

from scrcl import simulate
from scrcl.errors import InputError
from scrcl.simulation import template_atlas, tree_atlas
from scrcl.simulation.difficulty import Difficulty
from tests.cells import make_cells


def atlas(**difficulty):
    return tree_atlas(600, 200, 4, seed=1, difficulty=Difficulty(**difficulty))


def test_dropout_loses_a_share_of_the_values_and_changes_no_other():
    whole, part = (atlas(**given).rows(0, 600) for given in ({}, {"dropout": 0.4}))
    assert part.nnz == pytest.approx(0.6 * whole.nnz, rel=0.03)
    assert (part.data > 0).all()
    kept = part.toarray() > 0
    assert np.array_equal(part.toarray()[kept], whole.toarray()[kept])


def test_real_types_lose_values_too():
    cells = make_cells()
    given = (cells.X, cells.obs["cell_type"], cells.var_names, 300)
    whole, part = (template_atlas(*given, seed=0, dropout=share) for share in (0, 0.5))
    assert part.rows(0, 300).nnz == pytest.approx(0.5 * whole.rows(0, 300).nnz, rel=0.05)
    assert whole.identity != part.identity


def test_types_are_more_alike_with_less_signal():
    def away(signal):
        means = np.log(atlas(signal=signal).types.mean_profiles())
        return np.abs(means - means.mean(axis=0)).mean()

    assert away(0.3) < 0.4 * away(1.0)


def test_types_have_one_size_without_imbalance():
    sizes = [np.bincount(atlas(imbalance=orders).cells.types, minlength=4) for orders in (0, 1, 3)]
    assert sizes[0].tolist() == [150] * 4
    assert 7 < sizes[1].max() / sizes[1].min() < 11
    assert sizes[1].max() < sizes[2].max()


def test_an_atlas_of_the_usual_difficulty_stays_as_it_was():
    plain = tree_atlas(600, 200, 4, seed=1)
    assert plain.identity == atlas().identity != atlas(signal=0.5).identity


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"dropout": 1.0}, "dropout"),
        ({"signal": 0.0}, "signal"),
        ({"imbalance": -1.0}, "imbalance"),
    ],
)
def test_impossible_difficulties_are_refused(given, word):
    with pytest.raises(InputError, match=word):
        Difficulty(**given)


@pytest.mark.parametrize("given", [{"signal": 0.5}, {"imbalance": 0.0}])
def test_real_types_keep_their_differences_and_sizes(given, tmp_path):
    with pytest.raises(InputError, match=next(iter(given))):
        simulate(tmp_path / "out.zarr", source=tmp_path / "cells.h5ad", **given)
    assert not (tmp_path / "out.zarr").exists()
