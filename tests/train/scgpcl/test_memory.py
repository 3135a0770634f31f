from dataclasses import replace

import pytest

from scrcl._contract import Shape
from scrcl.train.methods.scgpcl.embed import BLOCK_CELLS
from scrcl.train.methods.scgpcl.memory import REFRESHED_CELLS, estimates, step_bytes
from scrcl.train.methods.scgpcl.settings import ScgpclSettings
from scrcl.train.settings import TrainSettings

ATLAS = Shape(
    n_cells=10**6, n_vars=20_000, values_per_row=1_000, n_genes=2_000, n_comps=100, n_neighbors=15
)
TRAIN = TrainSettings(steps=300, minibatch_cells=512)


def test_a_step_takes_the_same_for_any_number_of_cells():
    own = ScgpclSettings()
    small, large = (replace(ATLAS, n_cells=n) for n in (10**5, 10**8))
    assert step_bytes(small, own, TRAIN) == step_bytes(large, own, TRAIN)
    one, other = (estimates(shape, own, TRAIN).train for shape in (small, large))
    assert one.seconds == other.seconds
    assert other.fixed_bytes - one.fixed_bytes < 50 * 10**8


def test_training_on_a_million_cells_fits_in_two_gigabytes():
    assert estimates(ATLAS, ScgpclSettings(), TRAIN).train.least_bytes < 2 * 10**9


@pytest.mark.parametrize(
    ("own", "train"),
    [
        ({}, {"minibatch_cells": 2_048}),
        ({"context_cells": 2_048}, {}),
        ({"reconstructed_genes": 2_000}, {}),
        ({}, {"stop_cells": 10_000}),
    ],
)
def test_larger_mini_batches_contexts_decoders_and_samples_take_more(own, train):
    more = step_bytes(ATLAS, ScgpclSettings(**own), TRAIN.model_copy(update=train))
    assert more > step_bytes(ATLAS, ScgpclSettings(), TRAIN)


def test_lists_are_counted_once_for_each_gene():
    few, many = (
        estimates(ATLAS, ScgpclSettings(cells_per_gene=n), TRAIN).inputs for n in (100, 1_000)
    )
    assert many.fixed_bytes - few.fixed_bytes == 900 * 2_000 * 72


def test_the_blocks_of_a_sample_are_those_that_are_cut():
    assert REFRESHED_CELLS == BLOCK_CELLS
