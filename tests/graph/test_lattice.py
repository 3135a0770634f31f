"""The kind of coordinates: grids with holes, borders and rounding, and points anywhere."""

import numpy as np
import pytest

from scrcl.graph.lattice import find_layout, to_scale
from scrcl.graph.spatial import spatial_knn
from scrcl.io.labels import CellLabels


def hexagonal(pitch=1.0, n=20):
    row, column = np.divmod(np.arange(n * n), n)
    return pitch * np.column_stack([column + 0.5 * (row % 2), row * np.sqrt(0.75)])


def square(pitch=1.0, n=20):
    return pitch * np.column_stack(np.divmod(np.arange(n * n), n)).astype(float)


def numbered(n_rows=16, n_columns=15):
    """Return numbers of rows and columns as Visium gives them: every second column of a row is empty."""
    row, column = np.divmod(np.arange(n_rows * n_columns), n_columns)
    return np.column_stack([row, 2 * column + row % 2])


@pytest.mark.parametrize(("points", "kind"), [(hexagonal, "hexagonal"), (square, "square")])
@pytest.mark.parametrize("pitch", [0.01, 137.0])
def test_a_grid_is_found_with_its_pitch_turned_shuffled_and_full_of_holes(points, kind, pitch):
    rng = np.random.default_rng(0)
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    grid = rng.permutation(points(pitch) @ turn)
    kept = grid[rng.random(len(grid)) > 0.25]
    assert find_layout(kept).kind == kind
    assert find_layout(kept).pitch == pytest.approx(pitch)


def test_positions_in_pixels_are_rounded_and_still_a_grid():
    assert find_layout(np.round(hexagonal(137.3))).kind == "hexagonal"


@pytest.mark.parametrize(("points", "kind"), [(hexagonal, "hexagonal"), (square, "square")])
@pytest.mark.parametrize("pitch", [10, 14, 29.2])
def test_a_turned_grid_of_few_whole_pixels_and_many_holes_is_found(points, kind, pitch):
    rng = np.random.default_rng(0)
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    grid = np.round(points(pitch, n=30) @ turn)
    assert find_layout(grid).kind == kind
    assert find_layout(grid).pitch == pytest.approx(pitch, rel=0.03)
    holes = grid[rng.random(len(grid)) > 0.6]
    assert find_layout(holes).kind == kind


@pytest.mark.parametrize("pitch", [3, 5, 14])
def test_numbers_of_rows_and_columns_tell_the_grid_where_pixels_are_too_few(pitch):
    numbers = numbered(30, 25).astype(float)
    turn = np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]])
    places = numbers[:, ::-1] * [0.5, np.sqrt(0.75)]
    pixels = np.round(pitch * places @ turn)
    layout = find_layout(pixels, numbers=numbers)
    assert (layout.kind, layout.is_numbered) == ("hexagonal", False)
    assert layout.pitch == pytest.approx(pitch, rel=0.01)
    bins = np.column_stack(np.divmod(np.arange(900), 30)).astype(float)
    found = find_layout(np.round(3 * bins @ turn), numbers=bins)
    assert (found.kind, round(found.pitch, 1)) == ("square", 3.0)


def test_numbers_that_do_not_fit_the_coordinates_do_not_count():
    numbers, rng = numbered(30, 25).astype(float), np.random.default_rng(0)
    anywhere = rng.random((750, 2))
    assert find_layout(anywhere, numbers=numbers).kind == "irregular"
    places = 5 * numbers[:, ::-1] * [0.5, np.sqrt(0.75)]
    twice = np.concatenate([places, places + 1])
    assert find_layout(twice, numbers=np.concatenate([numbers, numbers])).kind == "irregular"
    unknown = numbers.copy()
    unknown[0] = np.nan
    assert find_layout(rng.permutation(places), numbers=unknown).kind == "hexagonal"
    squeezed = numbers * [1, 3]
    assert find_layout(squeezed + 0.3 * anywhere, numbers=numbers).kind == "irregular"


@pytest.mark.parametrize("seed", range(5))
def test_points_anywhere_are_no_grid(seed):
    rng = np.random.default_rng(seed)
    layout = find_layout(rng.random((500, 2)))
    assert (layout.kind, layout.pitch, layout.n_neighbors) == ("irregular", None, 18)
    whole = np.unique(rng.integers(0, 200, (900, 2)), axis=0)
    assert find_layout(whole).kind == "irregular"
    shaken = square() + rng.normal(0, 0.2, (400, 2))
    assert find_layout(shaken).kind == "irregular"


def test_numbers_of_rows_and_columns_become_a_hexagonal_grid():
    numbers = numbered()
    layout = find_layout(numbers)
    assert (layout.kind, layout.is_numbered) == ("hexagonal", True)
    assert layout.pitch == pytest.approx(2)
    near = spatial_knn(to_scale(numbers), 6).distances
    inner = (numbers > 1).all(axis=1) & (numbers < numbers.max(axis=0) - 1).all(axis=1)
    assert np.allclose(near[inner], 2)
    # The columns are the longer axis, whichever of the two comes first.
    assert np.allclose(to_scale(numbers[:, ::-1]), to_scale(numbers)[:, ::-1])


@pytest.mark.parametrize("points", [hexagonal(), square(), 2 * square()])
def test_other_coordinates_are_not_stretched(points):
    assert to_scale(points) is points


def test_samples_may_differ_in_pitch_but_not_in_kind():
    def joined(*parts):
        codes = np.repeat(np.arange(len(parts)), [len(part) for part in parts]).astype(np.int32)
        return np.concatenate(parts), CellLabels(codes, tuple("abc"[: len(parts)]))

    assert find_layout(*joined(square(1), square(250))).kind == "square"
    assert find_layout(*joined(square(1), square(250), square(1, n=1))).kind == "square"
    assert find_layout(*joined(square(), hexagonal())).kind == "irregular"
    assert find_layout(*joined(square(1), square(3), square(250))).pitch == pytest.approx(3)
    anywhere = np.random.default_rng(0).random((8, 2))
    assert find_layout(*joined(square(), anywhere)).kind == "irregular"
    assert find_layout(*joined(square(), anywhere[:7])).kind == "square"


def test_two_halves_in_other_units_are_no_grid():
    assert find_layout(np.vstack([hexagonal(), 5000 + hexagonal(1000.0)])).kind == "irregular"


@pytest.mark.parametrize(
    "points",
    [np.zeros((30, 2)), np.arange(6.0).reshape(3, 2), np.random.default_rng(0).random((99, 3))],
)
def test_stacked_cells_very_few_and_three_dimensions_are_irregular(points):
    assert find_layout(points).kind == "irregular"
