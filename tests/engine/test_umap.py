"""The map of a run: of all cells, of some with the others among them, in a tissue, and none."""

import json

import numpy as np
import pytest

from scrcl.engine.load_config import load_config
from scrcl.engine.run import run_files
from tests.cells import FAST, make_cells


def layout_of(folder, name, *, until="umap", **settings):
    config = load_config(overrides={**FAST, "n_clusters": 4, "device": "cpu", **settings})
    done = run_files([folder / "cells.h5ad"], folder / name, config, until=until)
    record = next(stage for stage in done.stages if stage["name"] == "umap")
    file = done.out / "stages" / "umap" / "layout.npy"
    return (np.load(file) if file.exists() else None), record


def kept_types(layout, types):
    """Return the share of nearest neighbours of the same type."""
    near = nearest(layout, 5)
    return (types[near] == types[:, None]).mean()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("umap")
    make_cells(spatial=True).write_h5ad(path / "cells.h5ad")
    return path


def test_cells_that_are_not_laid_out_are_put_among_their_like(folder):
    types = make_cells().obs["cell_type"].to_numpy()
    whole, record = layout_of(folder, "whole", umap={"cells": 240})
    assert record["n_laid_out"] == 240
    part, record = layout_of(folder, "part", umap={"cells": 120})
    assert record["n_laid_out"] == 120
    for layout in (whole, part):
        assert layout.shape == (240, 2)
        assert np.isfinite(layout).all()
        assert kept_types(layout, types) > 0.8  # 0.25 by chance
    again, _ = layout_of(folder, "again", umap={"cells": 120})
    assert np.array_equal(again, part)


def test_a_tissue_is_laid_out_by_its_embedding_and_not_by_its_coordinates(folder):
    config = {"spatial": True, "umap": {"cells": 240}}
    layout, _ = layout_of(folder, "tissue", **config)
    stages = folder / "tissue" / "stages"
    in_space = np.load(stages / "graph" / "ids.npy")
    k = in_space.shape[1]
    space = json.loads((stages / "embed" / "space.json").read_text())["clustered"]
    embedding = np.load(stages / "embed" / f"{space}.npy")
    near, like = (nearest(points, k) for points in (layout, embedding))
    assert shared(near, like) > 1.2 * shared(near, in_space)


def nearest(points, k):
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    return np.argsort(apart, axis=1)[:, :k]


def shared(first, second):
    """Return how many neighbours two lists have in common."""
    return np.mean([len(np.intersect1d(a, b)) for a, b in zip(first, second, strict=True)])


def test_without_cells_there_is_no_map(folder):
    layout, record = layout_of(folder, "none", umap={"cells": 0})
    assert layout is None
    assert record["left_as_is"]
