"""A faulty value is named with its own cell and gene, wherever in its row it stands."""

import numpy as np
import pytest
from scipy import sparse

from scrcl.errors import InputError
from scrcl.io.rows import rows_from_reader
from scrcl.prep.compute_stats import compute_stats


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("row", [0, 3, 4, 9])
def test_the_cell_and_gene_of_a_faulty_value_are_named(row, place):
    counts = np.ones((10, 3), dtype=np.float32)
    counts[4, 0] = 0
    place = max(place, 1) if row == 4 else place
    counts[row, place] = np.nan
    matrix = sparse.csr_matrix(counts)
    x = rows_from_reader(lambda start, stop: matrix[start:stop], shape=(10, 3), block_rows=4)
    with pytest.raises(InputError, match=f"got nan at cell {row}, gene {place}"):
        compute_stats(x)
