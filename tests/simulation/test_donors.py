"""Samples of a simulated atlas that differ as donors do."""

import numpy as np
import pytest

from scrcl.errors import InputError
from scrcl.simulation import tree_atlas
from scrcl.simulation.donors import DonorSettings, sample_effects


def difference(atlas):
    """Mean deviation between two samples of the profile of the largest type, in logs."""
    largest, counts = int(atlas.cells.counts.sum(axis=0).argmax()), atlas.rows(0, atlas.n_obs)
    samples = atlas.obs()["sample"].cat.codes.to_numpy()
    profiles = [
        np.asarray(counts[(samples == s) & (atlas.cells.types == largest)].sum(axis=0)).ravel()
        for s in (0, 1)
    ]
    logs = [np.log1p(1e4 * p / p.sum()) for p in profiles]
    return float(np.abs(logs[0] - logs[1]).mean())


def test_donor_effects_grow_with_their_strength():
    found = [
        difference(tree_atlas(3000, 200, 3, 2, seed=0, donors=DonorSettings(effect=effect)))
        for effect in (0, 0.5, 1.5)
    ]
    assert found[0] < 0.7 * found[1] < 0.5 * found[2]


def test_factors_differ_by_type_and_have_no_mean_over_the_cells():
    counts = np.array([[300, 100, 0], [100, 200, 50]])
    effects = sample_effects(counts, 500, DonorSettings(effect=1), np.random.default_rng(0))
    logs = np.log(effects.genes.reshape(2, 3, 500))
    own = logs - logs.mean(axis=1, keepdims=True)
    assert 0.1 < own.std() < 0.4
    assert effects.rows(np.array([0, 1]), np.array([2, 1])).tolist() == [2, 4]
    shared = logs[:, 0] - logs[:, 1]
    assert np.abs(shared).mean() > 0.1
    one = sample_effects(np.array([[5, 6]]), 50, DonorSettings(effect=2), np.random.default_rng(0))
    np.testing.assert_allclose(one.genes, 1, rtol=1e-5)
    np.testing.assert_allclose(one.depth, 1, rtol=1e-5)


def test_types_are_missing_from_samples_and_some_are_of_one_alone():
    atlas = tree_atlas(4000, 50, 6, 5, seed=1, donors=DonorSettings(0, 0.4, 2))
    present = atlas.cells.counts > 0
    assert (present.sum(axis=0) == [3, 3, 3, 3, 1, 1]).all()
    assert present.any(axis=1).all()
    plain = tree_atlas(4000, 50, 6, 5, seed=1)
    assert (plain.cells.counts > 0).all()
    assert plain.identity != atlas.identity


@pytest.mark.parametrize(
    ("settings", "word"),
    [((-1.0,), "donor_effect"), ((0.0, 1.0), "missing_types"), ((0.0, 0.0, -1), "n_own_types")],
)
def test_impossible_donors_are_refused(settings, word):
    with pytest.raises(InputError, match=word):
        DonorSettings(*settings)


def test_effects_that_take_too_much_memory_are_refused():
    with pytest.raises(InputError, match="donor_effect"):
        sample_effects(
            np.ones((1000, 100), int), 20_000, DonorSettings(1), np.random.default_rng(0)
        )
