"""Threads that wait without spinning: tests may share their cores. Set before torch is loaded."""

import os

import pytest

from tests.cells import make_cells

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture
def cells(tmp_path):
    """Path of an .h5ad with 240 cells of 4 types."""
    path = tmp_path / "cells.h5ad"
    make_cells().write_h5ad(path)
    return path
