"""The pages of results and their index."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[2] / "bench" / "results"
PAGES = sorted(path.relative_to(RESULTS).as_posix() for path in RESULTS.glob("*/**/*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_starts_with_commands_of_modules_that_exist(page):
    lines = [line for line in (RESULTS / page).read_text().splitlines() if line]
    assert lines[0].startswith("# ")
    assert lines[1].startswith("`")
    modules = re.findall(r"python -m (bench[\w.]*)", "\n".join(lines[1:6]))
    assert all(find_spec(module) is not None for module in modules)


def test_the_index_lists_every_page_once_and_no_other():
    index = (RESULTS / "README.md").read_text()
    listed = re.findall(r"^\| `([^`]+\.md)` \|", index, flags=re.MULTILINE)
    assert sorted(listed) == PAGES


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_named_by_date_and_machine(page):
    assert re.fullmatch(r"(archive/)?[a-z]+/\d{4}-\d\d-\d\d-[a-z0-9]+(-[a-z0-9-]+)?\.md", page)
