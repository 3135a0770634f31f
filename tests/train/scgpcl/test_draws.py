import numpy as np
import pytest
from scipy import sparse

from scrcl.train.methods.scgpcl.draws import CellLists, drawn_edges
from tests.train.scgpcl.data import make_counts


def test_at_most_so_many_edges_of_each_row_are_kept_and_short_rows_are_whole():
    rows, _ = make_counts(50, 40)
    names = np.arange(50) * 3
    kept = drawn_edges(rows, names, 6, seed=5)
    found = np.add.reduceat(kept, rows.indptr[:-1])
    np.testing.assert_array_equal(found, np.minimum(np.diff(rows.indptr), 6))
    assert drawn_edges(rows, names, None, seed=5).all()
    assert (drawn_edges(rows, names, 6, seed=6) != kept).any()


def test_a_draw_depends_on_the_cell_and_not_on_its_block():
    rows, _ = make_counts(50, 40)
    names = np.arange(50)
    whole = drawn_edges(rows, names, 6, seed=5)
    part = drawn_edges(rows[20:31], names[20:31], 6, seed=5)
    np.testing.assert_array_equal(part, whole[rows.indptr[20] : rows.indptr[31]])


def test_every_edge_is_drawn_equally_often():
    rows = sparse.csr_matrix(np.ones((1, 20), np.float32))
    drawn = sum(drawn_edges(rows, np.array([7]), 5, seed=seed).astype(int) for seed in range(2000))
    assert np.abs(drawn / 2000 - 0.25).max() < 0.05


@pytest.mark.parametrize("block", [1, 17, 200])
def test_lists_are_a_uniform_sample_whatever_the_blocks(block):
    rows, _ = make_counts(200, 30)
    whole = CellLists(30, 9, seed=3)
    whole.add(0, rows)
    lists = CellLists(30, 9, seed=3)
    for start in range(0, 200, block):
        lists.add(start, rows[start : start + block])
    found = lists.lists()
    np.testing.assert_array_equal(found, whole.lists())
    for gene in range(30):
        has = np.unique(rows[:, gene].nonzero()[0])
        listed = found[gene][found[gene] >= 0]
        assert len(listed) == len(set(listed)) == min(len(has), 9)
        assert set(listed) <= set(has)


def test_cells_of_every_block_are_as_likely_to_be_listed():
    rows = sparse.csr_matrix(np.ones((100, 1), np.float32))
    seen = np.zeros(100)
    for seed in range(400):
        lists = CellLists(1, 10, seed)
        for start in (0, 50):
            lists.add(start, rows[start : start + 50])
        seen[lists.lists()[0]] += 1
    assert abs(seen[:50].sum() / seen.sum() - 0.5) < 0.03
    assert seen.max() < 80


def test_a_gene_in_no_cell_has_an_empty_list():
    lists = CellLists(2, 3, 0)
    lists.add(0, sparse.csr_matrix(np.array([[1.0, 0.0], [2.0, 0.0]], np.float32)))
    assert set(lists.lists()[0]) == {0, 1, -1}
    assert (lists.lists()[1] == -1).all()
