"""What all tests share. Threads wait without spinning, as tests may share their cores; set before torch is loaded."""

import os
import subprocess
import sys

import pytest
from hypothesis import settings

from scrcl.cli.main import main
from tests.cells import make_cells
from tests.warm import WarmPopen

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A busy machine is no failure.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    """Let one worker run all tests that share a fixture of their file: two would make it twice."""
    for item in items:
        fixtures = item._fixtureinfo.name2fixturedefs.values()
        shares = any(found[-1].scope == "module" for found in fixtures)
        if shares and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(autouse=True, scope="session")
def _files_are_not_flushed():
    """Do without fsync: no test loses power, and a toy run flushes hundreds of files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def warm(monkeypatch):
    """Start Python commands with the large libraries loaded, in tests that measure neither time nor memory."""
    monkeypatch.setattr(subprocess, "Popen", WarmPopen)


@pytest.fixture
def cells(tmp_path):
    """Path of an .h5ad with 240 cells of 4 types."""
    path = tmp_path / "cells.h5ad"
    make_cells().write_h5ad(path)
    return path


@pytest.fixture
def scrcl(monkeypatch, capsys):
    """Run the command line; returns exit code, output and errors."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["scrcl", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call
