import numpy as np

from scrcl.prep.unmeasured import unmeasured_genes


def test_genes_that_many_cells_of_a_batch_should_have_and_none_has_are_unmeasured():
    rng, n_cells = np.random.default_rng(0), np.array([200, 300, 40])
    shares = rng.uniform(0.2, 0.9, 100)
    gene_cells = rng.binomial(n_cells[:, None], shares)
    assert not unmeasured_genes(gene_cells, n_cells).any()
    gene_cells[1, :10] = 0
    found = unmeasured_genes(gene_cells, n_cells)
    assert np.array_equal(np.flatnonzero(found[1]), np.arange(10))
    assert not found[[0, 2]].any()


def test_a_few_genes_that_a_batch_lacks_were_measured_and_so_were_rare_ones():
    n_cells = np.array([200, 300])
    gene_cells = np.full((2, 100), 150)
    gene_cells[0, :4] = 0  # of a type that the batch lacks
    assert not unmeasured_genes(gene_cells, n_cells).any()
    gene_cells = np.full((2, 100), 12)
    gene_cells[0, :50] = 0  # too few cells to tell
    assert not unmeasured_genes(gene_cells, n_cells).any()


def test_of_one_batch_all_genes_were_measured():
    assert not unmeasured_genes(np.array([[0, 5, 9]]), np.array([10])).any()
