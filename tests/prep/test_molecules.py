import numpy as np
import pytest
from scipy import sparse

from scrcl.prep.molecules import reads_per_molecule, totals_in_molecules
from scrcl.prep.normalize import log_normalize
from tests.cells import make_cells

READS = 200


@pytest.fixture
def cells():
    """Counts of molecules of 300 cells, and the same as reads: many for each molecule, by gene and by chance."""
    molecules, rng = make_cells(300, 200).X, np.random.default_rng(1)
    reads = molecules.copy()
    noise = np.exp(rng.normal(0, 0.7, reads.nnz) + rng.normal(0, 0.5, 200)[reads.indices])
    reads.data = np.maximum(np.rint(reads.data * READS * noise), 1).astype(np.float32)
    return molecules, reads


def logs_and_totals(counts):
    counts = sparse.csr_matrix(counts)
    return log_normalize(counts), np.asarray(counts.sum(axis=1)).ravel()


def test_a_molecule_gives_one_count_of_molecules_and_many_of_reads(cells):
    molecules, reads = cells
    assert 0.8 < reads_per_molecule(*logs_and_totals(molecules)) < 2
    assert READS / 3 < reads_per_molecule(*logs_and_totals(reads)) < READS * 3
    assert reads_per_molecule(*logs_and_totals(molecules[:10])) is None
    assert reads_per_molecule(*logs_and_totals(molecules[:, :5])) is None


def test_totals_are_of_molecules_where_some_batches_have_reads_and_others_do_not(cells):
    molecules, reads = cells
    both = sparse.vstack([molecules[:150], reads[150:]], format="csr")
    codes = np.repeat([0, 1], 150)
    logs, totals = logs_and_totals(both)
    found = totals_in_molecules(logs, totals, codes)
    assert np.array_equal(found[:150], totals[:150])
    assert 1 / 2 < np.median(found[150:]) / np.median(found[:150]) < 2
    assert np.ptp(totals[150:] / found[150:]) == pytest.approx(0)


def test_batches_are_told_apart_by_their_counts_and_not_by_their_totals(cells):
    # A normalisation that gave all cells one total.
    both = sparse.vstack([cells[0][:150], cells[1][150:]], format="csr")
    totals = np.full(300, 1e6)
    logs = (both * (1e4 / 1e6)).log1p().astype(np.float32)
    for order in ([0, 1], [1, 0]):
        found = totals_in_molecules(logs, totals, np.repeat(order, 150))
        assert np.array_equal(found[:150], totals[:150])
        assert (found[150:] < totals[150:] * 3 / READS).all()


def test_a_batch_too_small_to_show_it_is_as_the_one_with_the_nearest_totals(cells):
    molecules, reads = cells
    both = sparse.vstack([molecules[:150], reads[150:]], format="csr")
    codes = np.repeat([0, 1, 2], [150, 140, 10])
    logs, totals = logs_and_totals(both)
    factors = totals / totals_in_molecules(logs, totals, codes)
    assert factors[150] == pytest.approx(factors[-1])
    assert factors[0] == 1


@pytest.mark.parametrize("kind", [0, 1])
def test_totals_stay_as_they_are_where_all_batches_count_alike(kind, cells):
    logs, totals = logs_and_totals(cells[kind])
    assert totals_in_molecules(logs, totals, np.arange(300) % 3) is totals
