"""Which rows a conversion writes: those of a run, names, or row numbers, and never others than meant."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scrcl
from scrcl.engine.convert import convert
from scrcl.engine.row_order import write_order
from scrcl.errors import InputError
from tests.cells import FAST, make_cells

N_CELLS = 120


@pytest.fixture(scope="module")
def clustered(tmp_path_factory):
    """A file with cells that a run leaves out, and the run."""
    folder = tmp_path_factory.mktemp("order")
    cells = make_cells(N_CELLS, 60)
    x = cells.X.toarray()
    x[::6] = 0
    cells.X = sparse.csr_matrix(x)
    cells.write_h5ad(folder / "cells.h5ad")
    scrcl.fit(folder / "cells.h5ad", out=folder / "out", n_clusters=4, **FAST)
    return folder


def written(path):
    return ad.read_zarr(path).obs_names.tolist()


@pytest.mark.parametrize("given", ["out", "out/stages/report/order.npz", "copy.npz"])
def test_the_order_of_a_run_has_its_retained_cells(given, clustered, tmp_path, caplog):
    saved = clustered / "out/stages/report/order.npz"
    (clustered / "copy.npz").write_bytes(saved.read_bytes())
    convert(clustered / "cells.h5ad", tmp_path / "o.zarr", order=clustered / given)
    cells = ad.read_zarr(tmp_path / "o.zarr")
    original = ad.read_h5ad(clustered / "cells.h5ad")
    assert sorted(cells.obs_names) == sorted(f"cell{i}" for i in range(N_CELLS) if i % 6)
    np.testing.assert_array_equal(cells.X.toarray(), original[cells.obs_names].X.toarray())
    assert "100 of 120 rows" in caplog.text


@pytest.mark.parametrize("change", ["names", "shuffled", "fewer"])
def test_the_order_of_a_run_fits_no_other_cells(change, clustered, tmp_path):
    cells = ad.read_h5ad(clustered / "cells.h5ad")
    if change == "names":
        cells.obs_names = [f"x{i}" for i in range(N_CELLS)]
    cells = {"shuffled": cells[::-1], "fewer": cells[:-1], "names": cells}[change]
    cells.copy().write_h5ad(tmp_path / "other.h5ad")
    with pytest.raises(InputError, match="order must be of a run of the same cells"):
        convert(tmp_path / "other.h5ad", tmp_path / "o.zarr", order=clustered / "out")


def test_numbers_that_count_retained_cells_are_refused(clustered, tmp_path):
    inside = clustered / "out/stages/graph/partition/members.npy"
    with pytest.raises(InputError, match="Give the folder of the run"):
        convert(clustered / "cells.h5ad", tmp_path / "o.zarr", order=inside)


def test_a_folder_of_an_unfinished_run_is_refused(clustered, tmp_path):
    (tmp_path / "run.json").touch()
    with pytest.raises(InputError, match="finished run"):
        convert(clustered / "cells.h5ad", tmp_path / "o.zarr", order=tmp_path)


@pytest.mark.parametrize("form", ["text", "npy", "array"])
def test_cells_can_be_named(form, clustered, tmp_path):
    names = ["cell7", "cell0", "cell119"]
    (tmp_path / "text").write_text("\r\n".join(names) + "\n\n")
    np.save(tmp_path / "npy.npy", names)
    order = {"text": tmp_path / "text", "npy": tmp_path / "npy.npy", "array": np.array(names)}
    convert(clustered / "cells.h5ad", tmp_path / "o.zarr", order=order[form])
    assert written(tmp_path / "o.zarr") == names


def with_names(names, folder):
    cells = make_cells(len(names), 20)
    cells.obs_names = pd.Index(names, dtype=str)
    cells.write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


def test_names_that_are_numbers_are_names_where_they_cannot_be_rows(tmp_path):
    path = with_names(["500", "501", "502"], tmp_path)
    (tmp_path / "order").write_text("502\n500\n")
    convert(path, tmp_path / "o.zarr", order=tmp_path / "order")
    assert written(tmp_path / "o.zarr") == ["502", "500"]


def test_names_that_could_be_rows_are_refused_unless_they_mean_the_same(tmp_path):
    path = with_names(["0", "2", "1"], tmp_path)
    (tmp_path / "order").write_text("0\n2\n")
    with pytest.raises(InputError, match=r"line 2 .* 2, is the name of the cell in row 1"):
        convert(path, tmp_path / "o.zarr", order=tmp_path / "order")
    (tmp_path / "order").write_text("0\n")
    convert(path, tmp_path / "o.zarr", order=tmp_path / "order")
    assert written(tmp_path / "o.zarr") == ["0"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cell1\nmissing\n", "'missing' in line 2"),
        ("cell1\n\ncell2\n", "got none in line 2"),
        ("1\n-1\n", "only rows 0 to 119"),
        ("1 2\n3 4\n", "'1 2' in line 1"),
    ],
)
def test_a_faulty_line_of_an_order_is_named(text, message, clustered, tmp_path, caplog):
    (tmp_path / "order").write_text(text)
    with pytest.raises(InputError, match=message):
        convert(clustered / "cells.h5ad", tmp_path / "o.zarr", order=tmp_path / "order")
    assert "left out" not in caplog.text


def test_names_as_windows_writes_them_are_an_order(clustered, tmp_path):
    (tmp_path / "order").write_text("\ufeffcell7\r\ncell3\r\n", newline="")
    convert(clustered / "cells.h5ad", tmp_path / "o.zarr", order=tmp_path / "order")
    assert written(tmp_path / "o.zarr") == ["cell7", "cell3"]


def test_rows_of_a_run_keep_their_order(clustered, tmp_path):
    rows = np.random.default_rng(0).permutation(N_CELLS)[:50]
    write_order(tmp_path / "order.npz", rows, ad.read_h5ad(clustered / "cells.h5ad").obs_names)
    convert(clustered / "cells.h5ad", tmp_path / "o.zarr", order=tmp_path / "order.npz")
    assert written(tmp_path / "o.zarr") == [f"cell{row}" for row in rows]
