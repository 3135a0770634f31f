import pytest

from scrcl.engine.config import load_config
from tests.cells import FAST


@pytest.fixture
def config():
    """Settings of a quick run with 4 clusters."""
    return load_config(overrides={**FAST, "n_clusters": 4, "device": "cpu"})
