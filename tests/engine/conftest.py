import shutil
import subprocess

import pytest

from scrcl.engine.load_config import load_config
from tests.cells import FAST


@pytest.fixture
def config():
    """Settings of a quick run with 4 clusters."""
    return load_config(overrides={**FAST, "n_clusters": 4, "device": "cpu"})


@pytest.fixture
def small_disk(tmp_path):
    """Folder on a file system of 64 kB of its own; `resize` gives it another size."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def resize(small_disk):
    """Give the small disk a size, in kilobytes."""

    def to(size_kb):
        command = ["mount", "-o", f"remount,size={size_kb}k", str(small_disk)]
        subprocess.run(command, check=True)

    return to
