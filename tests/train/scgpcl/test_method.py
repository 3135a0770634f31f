import numpy as np
import pytest
import torch

from scrcl.errors import InputError, TrainingError
from scrcl.graph.kmeans import kmeans
from scrcl.prep.stats import MatrixStats
from scrcl.train.checkpoint import Checkpoints
from scrcl.train.loop import _step_of, train
from scrcl.train.methods.scgpcl import stop
from scrcl.train.methods.scgpcl.learner import level_sizes
from scrcl.train.methods.scgpcl.method import FINE_TUNING, PROTOTYPES, WARM_UP
from scrcl.train.methods.scgpcl.refresh import minibatch_prototypes
from scrcl.train.methods.scgpcl.settings import ScgpclSettings
from scrcl.train.methods.scgpcl.stop import ClustersAgree, FewChange, adjusted_rand
from scrcl.train.ranks import Ranks
from scrcl.train.setup import Work
from scrcl.train.state import TrainState
from tests.train.scgpcl.data import METHOD, make_counts, make_inputs, setup
from tests.train.test_ranks import on_ranks


@pytest.fixture
def inputs(tmp_path):
    return make_inputs(tmp_path / "store")


def trained(inputs, *, folder=None, **changes):
    how = setup(**{"steps": 24, "checkpoint_every": 5, **changes})
    state = TrainState.fresh(METHOD, inputs, how)
    checkpoints = None if folder is None else Checkpoints(folder, "one")
    saved = checkpoints.latest() if checkpoints else None
    if saved is not None:
        state.restore(saved)
    train(METHOD, inputs, state, how, checkpoints=checkpoints)
    return state


def tensors(state):
    return state.learner.state_dict()


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_phases_share_the_steps_and_have_their_own_terms(inputs):
    state = trained(inputs)
    assert [(p.name, p.schedule.n_steps) for p in state.phases] == [
        (WARM_UP, 9), (PROTOTYPES, 9), (FINE_TUNING, 6),
    ]  # fmt: skip
    terms = [set(row) - {"step", "grad_norm"} for row in state.history]
    assert (
        terms
        == [{"reconstruction", "contrast"}] * 9
        + [{"reconstruction", "contrast", "prototypes"}] * 9
        + [{"reconstruction", "clusters"}] * 6
    )
    assert state.history[17]["contrast"] < state.history[0]["contrast"]
    assert state.history[17]["reconstruction"] < state.history[0]["reconstruction"]


def test_shares_of_zero_leave_phases_out(inputs):
    only = METHOD.phases(setup(steps=10, finetune_share=0.0, warmup_share=0.0), inputs)
    assert [p.name for p in only] == [PROTOTYPES]
    assert [p.name for p in METHOD.phases(setup(steps=0), inputs)] == [WARM_UP]


@pytest.mark.parametrize("broken_at", [11, 20])
def test_training_resumes_to_the_same_bits(inputs, tmp_path, broken_at):
    unbroken = trained(inputs, checkpoint_every=broken_at)
    trained(inputs, folder=tmp_path / "saved", checkpoint_every=broken_at)
    for path in sorted((tmp_path / "saved").iterdir())[1:]:
        path.unlink()
    resumed = trained(inputs, folder=tmp_path / "saved", checkpoint_every=broken_at)
    assert_equal(tensors(resumed), tensors(unbroken))
    assert [row["step"] for row in resumed.history] == list(range(1, 25))


def test_prototypes_of_a_subset_follow_the_cells_and_centres_are_learned(inputs):
    early, late = (trained(inputs, steps=steps, prototypes="subset") for steps in (12, 24))
    assert not torch.equal(early.learner.prototypes, late.learner.prototypes)
    assert [len(level) for level in late.learner.levels] == [3, 4, 6]
    assert late.learner.is_tuned
    assert late.learner.sizes.sum().item() == pytest.approx(90, rel=1e-4)
    assert (late.learner.centres != early.learner.centres).any()


def test_prototypes_of_a_mini_batch_are_means_of_its_cells(inputs):
    learner = trained(inputs).learner
    assert not learner.prototypes.any()
    rows = torch.tensor([[0.0], [1], [10], [11], [50], [54]]).repeat(1, 5)
    first, second, third = minibatch_prototypes(learner, rows, 0)
    assert sorted(first[:, 0].tolist()) == [0.5, 10.5, 52]
    assert sorted(second[:, 0].tolist()) == [0.5, 10.5, 50, 54]
    torch.testing.assert_close(third.sort(dim=0).values, rows)
    fewer = [len(level) for level in minibatch_prototypes(learner, rows[:4], 0)]
    assert fewer == [3, 4, 4]


def test_mse_reconstructs_scaled_values(inputs):
    state = trained(inputs, reconstruction="mse", reconstructed_genes=30)
    assert state.history[-1]["reconstruction"] < state.history[0]["reconstruction"] < 3
    assert not hasattr(state.learner.decoder, "dropout")


def test_a_step_that_ran_out_of_memory_leaves_the_running_means(inputs):
    class Tight(type(METHOD)):
        def step(self, learner, batch, now):
            losses = super().step(learner, batch, now)
            if batch.n_seeds > 16:
                raise torch.OutOfMemoryError
            return losses

    how = setup(steps=8)
    state = TrainState.fresh(Tight(), inputs, how)
    train(Tight(), inputs, state, how)
    assert state.minibatch_cells == 16
    assert_equal(tensors(state), tensors(trained(inputs, steps=8, minibatch_cells=16)))


def rank_step(ranks, folder):
    """Gradients and buffers after one step of each phase, on a rank."""
    inputs = make_inputs(folder)
    how = setup(ranks=ranks, steps=24)
    found = {}
    with ranks.joined("cpu"):
        state = TrainState.fresh(METHOD, inputs, how)
        for number in range(3):
            state.learner.train()
            now = _step_of(state, ranks)
            if number:
                METHOD.refresh(state.learner, inputs, how, now)
            batches = METHOD.batches(inputs, how)
            losses = METHOD.step(state.learner, batches.batch(number), now)
            asked = sum(losses.values())
            asked.backward()
            weights = [each for each in state.learner.parameters() if each.grad is not None]
            ranks.add([each.grad for each in weights])
            terms = torch.stack([term.detach() for term in losses.values()])
            ranks.add([terms])
            sizes = METHOD.exchange(how, batches, now)
            found[number] = (
                torch.cat([each.grad.flatten() for each in weights]).numpy().copy(),
                terms.numpy().copy(),
                state.learner.encoder.out_norm.running_var.numpy().copy(),
                0 if ranks.is_alone else ranks._n_sums - len(sizes),
            )
            ranks.agree(0)
            state.learner.zero_grad()
            state.begin_next_phase() if number < 2 else None
    return found


class RankStep:
    def __init__(self, folder):
        self.folder = folder

    def __call__(self, ranks):
        return rank_step(ranks, self.folder / str(ranks.rank))


def test_two_ranks_take_the_step_of_one_process(tmp_path):
    found = on_ranks(RankStep(tmp_path))
    expected = rank_step(Ranks.alone(), tmp_path / "alone")
    assert isinstance(found[0], dict), found[0]
    for number, (grads, terms, variance, uncounted) in expected.items():
        np.testing.assert_allclose(found[0][number][0], grads, rtol=2e-3, atol=2e-5)
        np.testing.assert_allclose(found[0][number][1], terms, rtol=1e-4)
        np.testing.assert_allclose(found[0][number][2], variance, rtol=1e-4)
        assert found[1][number][3] == uncounted == 0, "a rank that fails must know the sums left"
        np.testing.assert_array_equal(found[0][number][0], found[1][number][0])


def test_the_embedding_has_a_row_for_each_cell_in_the_order_of_the_store(inputs, tmp_path):
    from sklearn.metrics import adjusted_rand_score

    state = trained(inputs, steps=40)
    found = METHOD.embed(state.learner, inputs, tmp_path, Work(block_rows=25), space="embedding")
    rows = np.load(tmp_path / "embedding.npy")
    assert found.spaces == ("embedding",)
    assert rows.shape == (90, 5)
    _, types = make_counts()
    labels = ClustersAgree(3, 0.99, 0).summary(torch.from_numpy(rows), 1).numpy()
    assert adjusted_rand_score(types, labels) > 0.6


def test_clusterings_that_agree_end_pre_training_whatever_their_numbers():
    rule = ClustersAgree(2, 0.99, 0)
    apart = torch.tensor([[0.0, 0], [0.1, 0], [9, 9], [9.1, 9]])
    same = rule.share_kept(rule.summary(apart, 1), rule.summary(apart.flip(1), 2))
    assert same == 1
    assert rule.is_over([0.5, same])
    assert not rule.is_over([1.0, 0.98])
    assert not rule.is_over([])


def test_each_check_starts_k_means_from_points_of_its_own(monkeypatch):
    seeds = []

    def seen(rows, k, *, seed, **options):
        seeds.append(seed)
        return kmeans(rows, k, seed=seed, **options)

    monkeypatch.setattr(stop, "kmeans", seen)
    rule, rows = ClustersAgree(2, 0.99, 0), torch.arange(8.0).view(4, 2)
    for step in (5, 10, 10):
        rule.summary(rows, step)
    assert seeds[0] != seeds[1] == seeds[2], "a resumed run must find the same clusters"


@pytest.mark.parametrize("n_other", [1, 2, 5])
def test_the_adjusted_rand_index_is_that_of_scikit_learn(n_other):
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng(n_other)
    one, other = rng.integers(0, 3, 60), rng.integers(0, n_other, 60)
    other[:20] = one[:20] % n_other
    for a, b in ((one, other), (other, other), (np.arange(5), np.arange(5))):
        assert adjusted_rand(a, b) == pytest.approx(adjusted_rand_score(a, b), abs=1e-12)


def test_training_that_has_diverged_says_so_and_not_that_the_input_is_wrong(inputs):
    how = setup(steps=24)
    state = TrainState.fresh(METHOD, inputs, how)
    state.learner.encoder.table.data[:] = torch.nan
    now = _step_of(state, Ranks.alone())
    with pytest.raises(TrainingError, match=r"embedding must stay finite.*train\.lr"):
        METHOD.refresh(state.learner, inputs, how, now)
    with pytest.raises(TrainingError, match="embedding must stay finite"):
        ClustersAgree(2, 0.99, 0).summary(torch.full((5, 2), torch.inf), 1)


def test_few_changed_cells_end_fine_tuning():
    rule = FewChange(0.1)
    before, now = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 1, 1])
    assert rule.share_kept(before, now) == 0.75
    assert not rule.is_over([0.75])
    assert rule.is_over([0.75, 0.95])


def test_a_stable_sample_ends_a_phase_and_hands_over(inputs):
    how = {"stop": "auto", "stop_every": 2, "stop_cells": 60, "agreement": 0.0, "changed": 1.0}
    state = trained(inputs, steps=60, **how)
    assert state.phase == 2
    assert state.step < 60
    assert state.learner.is_tuned


def stats(*, counts=True, logs=False, n_cells=20):
    one = np.ones(n_cells)
    return MatrixStats(
        one, one.astype(int), one, one > 0, np.array([n_cells]), np.zeros((1, 4, 7)), ("",),
        False, counts, True, logs, 3.0, 9,
    )  # fmt: skip


def test_zinb_refuses_what_are_no_counts_and_names_mse():
    with pytest.raises(InputError, match=r"log values.*reconstruction=mse"):
        METHOD.check(stats(counts=False, logs=True), ScgpclSettings())
    with pytest.raises(InputError, match=r"log values.*reconstruction=mse"):
        METHOD.check(stats(counts=True, logs=True), ScgpclSettings())
    with pytest.raises(InputError, match=r"not whole numbers.*reconstruction=mse"):
        METHOD.check(stats(counts=False), ScgpclSettings())
    METHOD.check(stats(counts=False, logs=True), ScgpclSettings(reconstruction="mse"))
    METHOD.check(stats(), ScgpclSettings())


def test_more_clusters_than_cells_are_refused_and_prototypes_are_at_most_the_cells():
    with pytest.raises(InputError, match=r"n_clusters must be at most .*\(20\); got 21"):
        METHOD.check(stats(), ScgpclSettings(n_clusters=21))
    METHOD.check(stats(), ScgpclSettings(n_clusters=20))
    assert level_sizes(20, 20) == [20, 20, 20]
    assert level_sizes(8, 100) == [8, 12, 16]
