"""The measurement of the report in a browser."""

import pytest

from bench.report.__main__ import MODES, WIDTHS, browser, opened_in
from tests.report.test_browser import page as page  # noqa: PLC0414 - a fixture


@pytest.mark.skipif(browser() is None, reason="there is no Chromium")
def test_a_page_is_opened_and_its_map_moved(page, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    found = opened_in(browser(), path, tmp_path / "pictures")
    assert found["opened_ms"] > 0
    assert found["frame_ms"] > 0
    assert found["messages"] == []
    assert len(list((tmp_path / "pictures").glob("*.png"))) == len(WIDTHS) * len(MODES)


@pytest.mark.skipif(browser() is None, reason="there is no Chromium")
def test_what_a_page_writes_to_the_console_is_kept(page, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page.replace("</body>", "<script>1</script></body>"), encoding="utf-8")
    assert "Content Security Policy" in opened_in(browser(), path)["messages"][0]
