"""Toy data and runs that tests of benchmarks share."""

import json

import pytest

from tests.cells import FAST_SETTINGS, make_cells


@pytest.fixture(autouse=True)
def _processes_are_warm(warm):
    """Let no benchmark import the large libraries once more: what it measures at toy size is never read."""


@pytest.fixture(scope="session")
def quick():
    return [part for setting in FAST_SETTINGS for part in ("--set", setting)]


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Folder with a set without coordinates, ``plain``, and one with, ``tissue``; only to be read."""
    folder = tmp_path_factory.mktemp("data")
    make_cells().write_h5ad(folder / "plain.h5ad")
    make_cells(spatial=True).write_h5ad(folder / "tissue.h5ad")
    return folder


@pytest.fixture(scope="session")
def read():
    """Return the text and the rows of a page."""

    def read_page(page):
        rows = page.with_suffix(".jsonl").read_text().splitlines()
        return page.read_text(), [json.loads(row) for row in rows]

    return read_page


@pytest.fixture(scope="session")
def options():
    """Return keywords as options of a command line."""

    def as_options(**values):
        return [
            str(part)
            for key, value in values.items()
            for part in (f"--{key.replace('_', '-')}", value)
        ]

    return as_options
