import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from scrcl.errors import InputError
from scrcl.io.rows import rows_from_reader
from scrcl.prep.compute_stats import compute_stats
from scrcl.prep.stats import MatrixStats
from scrcl.prep.value_kind import ValueKind, evidence_of_rows, sampled_rows, value_kind
from tests import reference_io as reference
from tests.cells import make_cells

COUNTS = np.minimum(make_cells(n_cells=120, n_genes=90).X.toarray() // 4, 18)
"""No count exceeds 20."""


def shares():
    return np.random.default_rng(0).uniform(0.3, 0.99, (len(COUNTS), 1))


def corrected_by_gene():
    lost = np.random.default_rng(1).uniform(0.05, 0.3, (1, COUNTS.shape[1]))
    return np.maximum(COUNTS - lost * COUNTS.sum(axis=1, keepdims=True) / 60, 0)


def partly_shared():
    rng = np.random.default_rng(2)
    return np.where(rng.random(COUNTS.shape) < 0.4, COUNTS * rng.random(COUNTS.shape), COUNTS)


def log_normalized(base=np.e, total=1e4):
    return np.log1p(COUNTS / COUNTS.sum(axis=1, keepdims=True) * total) / np.log(base)


def kind(values):
    rows = sparse.csr_matrix(values.astype(np.float32))
    return value_kind(evidence_of_rows(rows.data, rows.indptr, np.arange(rows.shape[0])))


def stats_of(values, block_rows=50, **options):
    rows = sparse.csr_matrix(values.astype(np.float32))
    x = rows_from_reader(
        lambda start, stop: rows[start:stop], shape=rows.shape, block_rows=block_rows
    )
    return compute_stats(x, **options)


@pytest.mark.parametrize(
    "values",
    [COUNTS, COUNTS * shares(), COUNTS / 40, corrected_by_gene(), partly_shared()],
    ids=["whole", "a share of each cell", "very small", "corrected by gene", "partly shared"],
)
def test_counts_below_twenty_are_counts(values):
    assert values.max() < 20
    assert not kind(values).already_log
    assert not stats_of(values).already_log


@pytest.mark.parametrize(
    "values",
    [
        log_normalized(),
        log_normalized(2),
        log_normalized(10),
        np.round(log_normalized(), 2),
        log_normalized().astype(np.float16),
        log_normalized()[:, :30],
        np.log1p(COUNTS),
        np.log2(COUNTS + 1),
        log_normalized(total=COUNTS.sum(axis=1, keepdims=True) * shares()),
        np.log1p(corrected_by_gene() / corrected_by_gene().sum(axis=1, keepdims=True) * 1e4),
        np.log1p((COUNTS > 0) / (COUNTS > 0).sum(axis=1, keepdims=True) * 1e4),
    ],
    ids=[
        "normalised", "base 2", "base 10", "rounded", "float16", "some genes", "plain counts", "plain, base 2",
        "own size factors", "of corrected counts", "of presence alone",
    ],
)  # fmt: skip
def test_logarithms_are_recognised(values):
    assert replace(kind(values), to_natural=1.0) == ValueKind(already_log=True)
    assert stats_of(values).already_log


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("base", [np.e, 2, 10])
def test_the_base_of_logarithms_is_found(base, plain, tmp_path):
    values = np.log1p(COUNTS) / np.log(base) if plain else log_normalized(base)
    stats = stats_of(values)
    assert stats.to_natural == pytest.approx(np.log(base))
    stats.save(tmp_path)
    assert MatrixStats.load(tmp_path).to_natural == stats.to_natural
    written = json.loads((tmp_path / "stats.json").read_text())
    del written["to_natural"]  # as earlier versions wrote it
    (tmp_path / "stats.json").write_text(json.dumps(written))
    assert MatrixStats.load(tmp_path).to_natural == 1


def test_blocks_are_summed_as_all_of_them_ask_for():
    """Blocks of a few cells may look otherwise than the whole."""
    values = partly_shared()
    one, many = stats_of(values, 120), stats_of(values, 3)
    np.testing.assert_allclose(one.sums, many.sums, rtol=1e-12)
    thirty = stats_of(values * 30)
    np.testing.assert_allclose(one.moments("log")[0], thirty.moments("log")[0], rtol=1e-5)


def test_every_third_of_sixty_thousand_cells_is_looked_at_whatever_the_blocks():
    starts = np.arange(0, 60_000, 7_001)
    sizes = np.diff(starts, append=60_000)
    seen = [a + sampled_rows(a, n, 60_000) for a, n in zip(starts, sizes, strict=True)]
    np.testing.assert_array_equal(np.concatenate(seen), np.arange(0, 60_000, 3))


@pytest.mark.parametrize("already_log", [True, False])
def test_a_kind_that_is_given_is_taken(already_log):
    logs = log_normalized()
    stats = stats_of(logs, already_log=already_log)
    assert stats.already_log == already_log
    expected = logs if already_log else reference.log_normalized(logs)
    mean, _ = reference.moments(expected, logs.any(axis=1))
    np.testing.assert_allclose(stats.moments("log")[0], mean, rtol=1e-4)


def test_a_guess_decides_only_where_the_values_do_not():
    unclear = corrected_by_gene()
    assert not kind(unclear).is_clear
    assert stats_of(unclear, guess=True).already_log
    assert not stats_of(log_normalized() * 0 + COUNTS, guess=True).already_log
    assert stats_of(log_normalized(), guess=False).already_log


@pytest.mark.parametrize("factor", [1, 3], ids=["small counts", "large counts"])
def test_counts_and_logarithms_in_one_matrix_are_refused(factor):
    both = np.vstack([COUNTS * factor, log_normalized()])
    with pytest.raises(
        InputError, match=r"log values in some cells and counts in others.*`features.values`"
    ):
        stats_of(both)
    assert not stats_of(both, already_log=False).already_log


def test_codes_of_retained_cells_are_spread_over_all_rows():
    values = COUNTS.copy()
    values[[0, 7]] = 0
    retained = np.flatnonzero(values.any(axis=1))
    found = stats_of(values).of_all_rows(np.arange(len(retained)))
    assert found.dtype == np.int32
    assert found[[0, 7]].tolist() == [-1, -1]
    assert found[retained].tolist() == list(range(len(retained)))
