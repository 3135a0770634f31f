"""The measurement of the report in a browser."""

import pytest

from bench.report.__main__ import browser, opened_in
from tests.report.test_browser import page as page  # noqa: PLC0414 - a fixture


@pytest.mark.skipif(browser() is None, reason="there is no Chromium")
def test_a_page_is_opened_and_its_map_moved(page, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    found = opened_in(browser(), path)
    assert found["opened_ms"] > 0
    assert found["frame_ms"] > 0
