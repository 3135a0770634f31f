from __future__ import annotations

import subprocess
import sys

import faiss
import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from scrcl.graph.backends import Search, choose, make_searcher
from scrcl.graph.names import APPROXIMATE, BACKENDS, BACKENDS_HELP, Backend
from scrcl.graph.searcher import SearchTask


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_of_the_table_finds_points_and_carries_its_name(name):
    if name == "pynndescent":
        pytest.skip("it compiles for a minute; a slow test of the neighbour search covers it")
    points = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    searcher = make_searcher(name, points, SearchTask(k=3, seed=0))
    ids, squared = searcher.search(points[:50], 3)
    assert searcher.name == name
    assert (ids[:, 0] == np.arange(50)).mean() > 0.9
    assert (np.diff(squared, axis=1) >= 0).all()


def test_help_and_settings_name_every_backend():
    backends = TypeAdapter(Backend)
    for name in ("auto", *BACKENDS):
        assert backends.validate_python(name) == name
        assert f"{name}: " in BACKENDS_HELP
    with pytest.raises(ValidationError):
        backends.validate_python("annoy")
    assert set(BACKENDS) - APPROXIMATE == {"exact"}


def test_bytes_per_point_are_those_of_the_index():
    held = {name: entry.bytes_per_point(50) for name, entry in BACKENDS.items()}
    assert held == {"exact": 0, "partitioned": 0, "ivf": 208, "hnsw": 360, "pynndescent": 2_000}


@pytest.mark.parametrize(
    ("n_points", "n_queries", "recall", "backend"),
    [
        (19_999, None, 0.95, "exact"),
        (20_000, None, 0.95, "partitioned"),
        (10**6, 399, 0.95, "exact"),
        (10**6, 400, 0.95, "partitioned"),
        (10**6, None, 1.0, "exact"),
    ],
)
def test_auto_depends_on_sizes_and_recall(n_points, n_queries, recall, backend):
    search = Search(recall=recall)
    assert choose(search, n_points, 50, n_queries=n_queries) == backend


@pytest.mark.gpu
@pytest.mark.skipif(not faiss.get_num_gpus(), reason="FAISS has no GPU")
def test_auto_uses_a_gpu_for_points_up_to_sixteen_gigabytes():
    search = Search(device="cuda")
    assert choose(search, 80_000_000, 50) == "ivf"
    assert choose(search, 80_000_001, 50) == "partitioned"


def test_the_table_of_backends_loads_no_heavy_library():
    code = "import sys, scrcl.graph.names; print(*({'numpy', 'faiss', 'torch', 'numba'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
