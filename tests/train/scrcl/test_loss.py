from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from scrcl.graph.sample import sample_halo
from scrcl.train.methods.scrcl.loss import TERMS, Others
from scrcl.train.methods.scrcl.moments import Moments
from tests import reference_train as reference
from tests.train.data import (
    batch_of,
    dense,
    losses_of,
    make_graph,
    means_of,
    raw_views,
    scrcl_settings,
    unit,
    views_of,
)

RNG = np.random.default_rng(0)


def gradients(value, raw):
    found = torch.autograd.grad(value, raw, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(r) if g is None else g for g, r in zip(found, raw, strict=True)]


def assert_same(found, expected, raw, tolerance=1e-10):
    """Value and gradient agree, relative to the larger of one and the expected."""
    assert abs((found - expected).item()) <= tolerance * max(1, abs(expected.item()))
    for ours, theirs in zip(gradients(found, raw), gradients(expected, raw), strict=True):
        assert ((ours - theirs).abs().max()).item() <= tolerance * max(
            1, (theirs.abs().max()).item()
        )


def all_cells(graph, cells):
    halo = sample_halo(graph, np.arange(graph.n), fanout=None, rng=RNG)
    return batch_of(graph, halo, *cells)


def exact(cells, settings):
    return means_of(views_of(*cells), settings)


def assert_equals_the_paper(n, k, t, m, seed):
    graph, raw = make_graph(n, k, seed), raw_views(n, seed=seed)
    settings = scrcl_settings(temperature=t, cvc_negatives=m, alpha=2.0, beta=3.0)
    cells = unit(raw)
    own = exact(cells, settings)
    found = losses_of(*all_cells(graph, cells), Others(own, own), settings)
    expected = reference.terms(*cells, dense(graph), settings)
    assert list(found) == list(TERMS)
    for name in TERMS:
        assert_same(found[name], expected[name], raw, 1e-9)


@settings(max_examples=40, derandomize=True)
@given(
    n=st.integers(3, 24),
    k=st.integers(1, 5),
    t=st.sampled_from([0.2, 0.5, 1.0, 3.0]),
    m=st.sampled_from([1, 3, 10, 1000]),
    seed=st.integers(0, 1000),
)
def test_each_loss_over_all_cells_equals_the_papers_in_value_and_gradient(n, k, t, m, seed):
    assert_equals_the_paper(n, k, t, m, seed)


@pytest.mark.parametrize("t", [0.02, 0.1])
def test_the_losses_equal_the_papers_at_a_low_temperature(t):
    assert_equals_the_paper(n=40, k=4, t=t, m=10, seed=0)


def test_with_as_many_negatives_as_cells_cvc_is_equation_9():
    graph, raw = make_graph(20, 3), raw_views(20)
    settings = scrcl_settings(cvc_negatives=20)
    cells = unit(raw)
    own = exact(cells, settings)
    found = losses_of(*all_cells(graph, cells), Others(own, own), settings)["cvc"]
    assert_same(found, reference.cvc(*cells[2:], dense(graph)), raw)


def test_cvc_of_a_complete_graph_has_no_negatives():
    n = 6
    graph = make_graph(n, 200)
    assert (graph.degrees == n - 1).all()
    raw = raw_views(n)
    cells, settings = unit(raw), scrcl_settings()
    own = exact(cells, settings)
    found = losses_of(*all_cells(graph, cells), Others(own, own), settings)["cvc"]
    assert_same(found, reference.cvc(*cells[2:], dense(graph)), raw)


def epoch(graph, cells, others, settings, *, n_batches, seed=0):
    """Terms of each batch of an epoch, weighted so that their sum is the mean over seed cells."""
    order = np.random.default_rng(seed).permutation(graph.n)
    total = {}
    for seeds in np.array_split(order, n_batches):
        halo = sample_halo(graph, seeds, fanout=None, rng=RNG)
        found = losses_of(*batch_of(graph, halo, *cells), others, settings)
        for name, value in found.items():
            total[name] = total.get(name, 0) + value * len(seeds) / graph.n
    return total


@pytest.mark.parametrize("n_batches", [1, 2, 5, 9])
def test_with_exact_means_an_epochs_batches_average_to_the_loss_over_all_cells(n_batches):
    graph, raw = make_graph(45, 4), raw_views(45)
    settings = scrcl_settings(temperature=0.5, cvc_negatives=12)
    cells = unit(raw)
    found = epoch(graph, cells, Others(exact(cells, settings), None), settings, n_batches=n_batches)
    expected = reference.terms(*cells, dense(graph), settings)
    expected["ndc"] = settings.alpha * reference.ndc(
        *cells[:2], dense(graph), 0.5, self_in_mean=True
    )
    for name in TERMS:
        assert_same(found[name], expected[name], raw)


def test_leaving_a_cell_in_its_own_mean_changes_ndc_by_one_over_the_number_of_cells():
    errors = []
    for n in (50, 100, 200, 400):
        em, eg, *_ = (c.detach() for c in unit(raw_views(n)))
        eg = normalize(em + 0.3 * eg, dim=1)
        a = dense(make_graph(n, 4))
        kept, left_out = (reference.ndc(em, eg, a, 1.0, self_in_mean=s) for s in (True, False))
        errors.append(((kept / left_out - 1).abs()).item() * n)
    assert max(errors) < 1.5
    assert max(errors) / min(errors) < 2


@pytest.mark.parametrize("n_past", [0, 4])
def test_over_all_batches_of_a_size_cvc_is_unbiased_in_value_and_gradient(n_past):
    """With the batch's own means alone, and with running ones that have met every cell before."""
    n, size = 7, 3
    graph, raw = make_graph(n, 1), raw_views(n)
    cells, settings = unit(raw), scrcl_settings(cvc_negatives=2)
    total, batches = 0, list(combinations(range(n), size))
    for seeds in batches:
        halo = sample_halo(graph, np.array(seeds), fanout=None, rng=RNG)
        views, edges = batch_of(graph, halo, *cells)
        moments = Moments(0.6)
        for _ in range(n_past):
            moments.observe(exact(cells, settings))
        others = moments.observe(means_of(views, settings))
        total = total + losses_of(views, edges, others, settings)["cvc"]
    expected = reference.cvc_per_anchor(*cells[2:], dense(graph), 2)
    assert_same(total / len(batches), expected, raw)


def test_a_batchs_global_divergence_uses_the_partitions_of_all_cells():
    graph, raw = make_graph(30, 3), raw_views(30)
    cells, t = unit(raw), 0.2
    settings = scrcl_settings(temperature=t)
    means = exact(cells, settings)
    wrong = replace(means, partition_m=3 * means.partition_m)
    halo = sample_halo(graph, np.arange(8), fanout=None, rng=RNG)
    found = losses_of(*batch_of(graph, halo, *cells), Others(wrong, None), settings)
    em, eg = (c / t for c in cells[:2])
    log_p = em - em.flatten().logsumexp(0) - np.log(3)
    log_q = eg - eg.flatten().logsumexp(0)
    entries = (log_p.exp() - log_q.exp()) * (log_p - log_q)
    assert_same(found["hea_global"], entries[:8].sum() * 30 / 8, raw)


def test_sampled_means_converge_to_the_dense_loss_with_the_square_root_of_their_number():
    n = 1500
    graph, cells = make_graph(n, 4), [c.detach() for c in unit(raw_views(n))]
    settings = scrcl_settings(cvc_negatives=50, temperature=0.5)
    views, edges = all_cells(graph, cells)
    expected = losses_of(views, edges, Others(exact(cells, settings), None), settings)
    sizes, repeats = (10, 40, 160), 25
    error = {name: [] for name in ("hea_global", "ndc", "cvc")}
    for size in sizes:
        squares = dict.fromkeys(error, 0.0)
        for repeat in range(repeats):
            drawn = np.random.default_rng((size, repeat)).choice(n, size, replace=False)
            means = exact([c[drawn] for c in cells], settings)
            found = losses_of(views, edges, Others(means, None), settings)
            for name in error:
                squares[name] += (found[name] - expected[name]).item() ** 2 / repeats
        for name, square in squares.items():
            error[name].append(square**0.5)
    for name in ("ndc", "cvc"):
        slope = np.polyfit(np.log(sizes), np.log(error[name]), 1)[0]
        assert -0.75 < slope < -0.35, (name, error[name])
    assert error["hea_global"][-1] < error["hea_global"][0]


def test_drawn_neighbours_are_weighted_so_that_pair_sums_stay_unbiased():
    graph, raw = make_graph(30, 5), raw_views(30)
    cells = [c.detach() for c in unit(raw)]
    settings = scrcl_settings(cvc_negatives=7)
    others = Others(exact(cells, settings), None)
    full = losses_of(*all_cells(graph, cells), others, settings)
    values = {"ndc": [], "cvc": []}
    for draw in range(300):
        halo = sample_halo(graph, np.arange(30), fanout=3, rng=np.random.default_rng(draw))
        taken = np.diff(halo.indptr)
        share = torch.from_numpy(np.repeat(graph.degrees / taken, taken))
        found = losses_of(*batch_of(graph, halo, *cells, share=share), others, settings)
        for name, each in values.items():
            each.append(found[name].item())
    for name, each in values.items():
        error = np.std(each) / np.sqrt(len(each))
        assert abs(np.mean(each) - full[name].item()) < 3.5 * error, name


def test_running_moments_start_as_the_batchs_own_and_approach_those_of_all_cells():
    n, size = 400, 40
    cells = [c.detach() for c in unit(raw_views(n))]
    settings, moments = scrcl_settings(), Moments(0.95)
    truth = exact(cells, settings)
    rng = np.random.default_rng(0)
    single, running = [], []
    for step in range(300):
        drawn = rng.choice(n, size, replace=False)
        now = exact([c[drawn] for c in cells], settings)
        others = moments.observe(now)
        if step == 0:
            assert torch.allclose(others.whole.gram, now.gram, atol=1e-14)
            assert others.share == pytest.approx(1)
        if step >= 100:
            single.append(((now.gram - truth.gram).norm()).item())
            running.append(((moments.mean().gram - truth.gram).norm()).item())
    assert np.mean(running) < 0.3 * np.mean(single)
    assert moments.n_batches == 300


def test_running_moments_carry_the_batchs_gradient_at_their_own_value():
    raw = raw_views(8)
    settings, moments = scrcl_settings(), Moments(0.9)
    moments.observe(exact(unit(raw_views(8, seed=5)), settings))
    now = exact(unit(raw), settings)
    whole = moments.observe(now).whole
    assert torch.allclose(whole.target, moments.mean().target)
    assert not torch.allclose(whole.target, now.target)
    ours, batchs = (gradients(m.gram.sum(), raw[3:])[0] for m in (whole, now))
    assert torch.equal(ours, batchs)


def test_float32_keeps_the_divergence_of_nearly_aligned_views():
    graph = make_graph(60, 3)
    raw = raw_views(60, dim=128)
    em, other, zm, zg = unit(raw)
    eg = normalize(em + 0.01 * other, dim=1)
    settings = scrcl_settings()
    results = {}
    for dtype in (torch.float64, torch.float32):
        cells = [c.detach().to(dtype) for c in (em, eg, zm, zg)]
        own = exact(cells, settings)
        results[dtype] = losses_of(*all_cells(graph, cells), Others(own, own), settings)
    for name in TERMS:
        wide, narrow = (results[d][name].item() for d in (torch.float64, torch.float32))
        assert narrow == pytest.approx(wide, rel=1e-3), name


def test_cells_that_are_all_one_point_leave_the_losses_finite():
    graph = make_graph(10, 2)
    point = normalize(torch.ones(10, 4), dim=1)
    cells, settings = [point] * 4, scrcl_settings()
    own = exact(cells, settings)
    found = losses_of(*all_cells(graph, cells), Others(own, own), settings)
    assert all(torch.isfinite(value) for value in found.values())


def test_a_weight_of_zero_leaves_its_term_out():
    graph, cells = make_graph(10, 2), unit(raw_views(10))
    settings = scrcl_settings(alpha=0, beta=0, hea_cell_weight=0)
    own = exact(cells, settings)
    found = losses_of(*all_cells(graph, cells), Others(own, own), settings)
    assert [found[name].item() for name in TERMS[1:]] == [0, 0, 0]
    assert (found["hea_global"]).item() > 0
