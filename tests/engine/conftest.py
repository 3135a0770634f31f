import pytest

from scrcl.engine.config import load_config
from tests.cells import FAST, make_cells


@pytest.fixture
def cells(tmp_path):
    """Path of an .h5ad with 240 cells of 4 types."""
    path = tmp_path / "cells.h5ad"
    make_cells().write_h5ad(path)
    return path


@pytest.fixture
def config():
    """Settings of a quick run with 4 clusters."""
    return load_config(overrides={**FAST, "n_clusters": 4, "device": "cpu"})
