import numpy as np
import pytest
from pydantic import ValidationError

from scrcl.train.schedule import Schedule, schedule_of
from scrcl.train.settings import TrainSettings


@pytest.mark.parametrize(
    ("n_cells", "n_steps"),
    [(2, 100), (4096 * 100, 100), (4096 * 100 + 1, 101), (10**6, 245), (10**8, 1000)],
)
def test_steps_are_an_epoch_within_bounds(n_cells, n_steps):
    assert schedule_of(TrainSettings(minibatch_cells=4096), n_cells).n_steps == n_steps


def test_steps_that_are_given_are_kept_whatever_the_cells():
    assert schedule_of(TrainSettings(steps=7), 10**6).n_steps == 7
    assert schedule_of(TrainSettings(steps=np.int64(0)), 10**6).n_steps == 0


def test_epochs_are_passes_over_all_cells():
    assert schedule_of(TrainSettings(epochs=3, minibatch_cells=64), 65).n_steps == 6
    with pytest.raises(ValidationError, match=r"train\.steps must be auto .*set train\.epochs"):
        TrainSettings(epochs=3, steps=3)


def test_the_learning_rate_rises_stays_and_falls():
    schedule = Schedule(10, 0.4, warmup_steps=3, decay_steps=4)
    rates = [schedule.lr_at(step) for step in range(10)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.32, 0.24, 0.16, 0.08])


def test_without_warm_up_and_decay_it_is_the_same_at_every_step():
    schedule = schedule_of(TrainSettings(lr=0.3, steps=5), 100)
    assert [schedule.lr_at(step) for step in range(5)] == [0.3] * 5


@pytest.mark.parametrize("steps", [-1, 1.5, "many", 10**10, None, True])
def test_other_steps_are_refused(steps):
    with pytest.raises(ValidationError, match=r"train\.steps must be auto or a whole number"):
        TrainSettings(steps=steps)


def test_decay_that_a_stop_would_cut_off_is_refused():
    with pytest.raises(ValidationError, match=r"train\.decay_steps .* got 5"):
        TrainSettings(decay_steps=5)
    assert schedule_of(TrainSettings(decay_steps=5, stop="never"), 10).decay_steps == 5
