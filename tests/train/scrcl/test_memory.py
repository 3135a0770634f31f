from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrcl._contract import Shape
from scrcl.train.methods.scrcl.memory import BLOCK_ANCHORS, READ_BATCHES, estimates, step_bytes
from scrcl.train.methods.scrcl.settings import ScrclSettings
from scrcl.train.pairs import CPU_BLOCK_ROWS
from scrcl.train.settings import TrainSettings

ATLAS = Shape(
    n_cells=10**6, n_vars=20_000, values_per_row=1_000, n_genes=2_000, n_comps=100, n_neighbors=15
)


def of(shape=ATLAS, own=None, **train):
    return estimates(shape, own or ScrclSettings(), TrainSettings(**train), space="embedding")


@given(st.integers(100, 10**7), st.integers(16, 10**5))
def test_a_step_never_holds_more_than_all_cells(n_cells, minibatch_cells):
    train = TrainSettings(minibatch_cells=minibatch_cells, stop="never")
    held = step_bytes(replace(ATLAS, n_cells=n_cells), ScrclSettings(), train)
    embedded = min(n_cells, 8_192) * 4 * 16 * 128
    most = n_cells * (4 * 16 * 128 + READ_BATCHES * (8 * 100 + 90 * 21)) + embedded
    assert min(minibatch_cells, n_cells) * 0.6 * 16 * 100 <= held <= most


def test_the_sample_of_the_stability_checks_is_counted():
    genes = ScrclSettings(features="hvg")
    auto, never = (
        step_bytes(ATLAS, genes, TrainSettings(minibatch_cells=64, stop=stop))
        for stop in ("auto", "never")
    )
    assert 2_000 * 20 * 4 * 2_000 < auto - never < 2_000 * 25 * 4 * 2_000


def test_the_anchors_of_a_block_are_those_that_training_cuts():
    assert BLOCK_ANCHORS == CPU_BLOCK_ROWS


def test_time_depends_on_steps_and_on_the_size_of_mini_batches():
    few, many = (of(steps=steps).train.seconds for steps in (100, 1_000))
    assert many - few == pytest.approx(9 * (few - of(steps=0).train.seconds))
    assert of(minibatch_cells=8_192, steps=100).train.seconds > few
    assert of(fanout=5, steps=100).train.seconds < few
    drawn = ScrclSettings(negatives="sampled", n_negatives=4_096)
    assert of(own=drawn, steps=100).train.seconds > few


@pytest.mark.parametrize(("n_cells", "took"), [(1_000, 4), (4_000, 10), (16_000, 17)])
def test_the_time_of_small_data_is_near_what_was_measured(n_cells, took):
    """CPU seconds of 100 steps on two busy cores were 4.4, 12.9 and 25: seconds on quiet ones are about .6 of these."""
    found = of(replace(ATLAS, n_cells=n_cells), steps=100).train.seconds
    assert took / 2 < found < 2 * took


@pytest.mark.parametrize("n_cells", [10**6, 3 * 10**6])
def test_the_default_time_of_inputs_and_training_grows_with_the_cells(n_cells):
    found = of(replace(ATLAS, n_cells=n_cells))
    total = found.inputs.seconds + found.train.seconds
    assert total == pytest.approx(4 + 1.1e-4 * n_cells, rel=0.1)
