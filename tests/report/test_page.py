import re

from scrcl.report.colours import palette
from scrcl.report.page import Column, Figure, Page, Section, StageUsage, Table, render_page


def page(*sections, **changes):
    given = {
        "title": "scrcl: cells",
        "facts": {"cells": "240"},
        "sections": sections,
        "stages": [StageUsage("read", 1.5, 2_000_000, 3_000, 160.0)],
        "config": "seed = 0",
        "versions": {"scrcl": "0.1.0", "python": "3.11"},
    }
    return render_page(Page(**{**given, **changes}))


def test_every_kind_of_content_is_on_the_page():
    kinds = ("label", "number", "number", "share", "bar", "list", "number")
    table = Table(
        [Column(f"column {i}", kind) for i, kind in enumerate(kinds)],
        [["type A", 1200, 0.5, 0.25, 0.25, ("CD3E", "CD8A"), None]],
    )
    figures = [Figure("<svg id='lines'></svg>", "Lines", "svg"), Figure("aGk=", "Map", "png")]
    text = page(Section("Clusters", {"K": "4"}, figures, table, notes=["few cells"]))
    for part in (
        "<h2>Clusters</h2>", "<dt>K</dt><dd>4</dd>", "<svg id='lines'></svg>", "base64,aGk=", ">1,200<",
        ">0.50<", ">25.0%<", "width:25.0%", "CD3E, CD8A", "<li>few cells</li>", "2 MB", "seed = 0",
    ):  # fmt: skip
        assert part in text


def test_names_of_the_user_are_escaped():
    text = page(
        Section("<b>x</b>", {"<i>": "<script>"}), title="a & b", facts={"file": "<img src=x>"}
    )
    for part in ("<b>x", "<script>", "<img src=x>", "a & b"):
        assert part not in text


def test_a_section_with_nothing_to_show_has_no_heading_but_keeps_its_notes():
    text = page(Section("Empty", notes=["kept"]), Section("Other", overview={"a": "b"}))
    assert "Empty" not in text
    assert "Other" not in text
    assert "<li>kept</li>" in text


def test_the_same_note_is_shown_once():
    text = page(
        Section("A", {"x": "1"}, notes=["twice"]), Section("B", {"y": "2"}, notes=["twice"])
    )
    assert text.count("twice") == 1


def test_the_page_needs_no_network_and_no_script():
    text = page(Section("A", {"x": "1"}))
    assert not re.search(r"https?://|<script|<link|@import", text)


def test_colours_are_distinct_and_the_first_stay_the_same():
    assert len(set(palette(60))) == 60
    assert palette(60)[:16] == palette(16)
