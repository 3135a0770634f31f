"""The HTML page, made from every kind of section and read back with a parser."""

import base64
from html.parser import HTMLParser

import numpy as np
import pytest

from scrcl.report.colours import PAGE_COLOURS
from scrcl.report.figures import loss_curves, share_bars
from scrcl.report.page import Column, Figure, Page, Section, StageUsage, Table, render_page

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Reader(HTMLParser):
    """The tags, texts and attributes of a page; fails where tags do not match."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.links = [], [], []
        self.texts = {}
        self.attributes = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._note(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self.open:
            within = self.open[-2] if self.open[-2:] == ["caption", "span"] else self.open[-1]
            self.texts.setdefault(within, []).append(data.strip())

    def _note(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.links += [v for name, v in attrs if name in ("src", "href", "xlink:href", "srcset")]


CLUSTERS = Table(
    columns=[
        Column("cluster", "label"),
        Column("cells", "number"),
        Column("share", "share"),
        Column("", "bar"),
        Column("confidence (median)", "number"),
        Column("batch entropy", "number"),
        Column("algorithm", "text"),
        Column("markers", "markers"),
    ],
    rows=[
        ["T cells", 12_345, 0.75, 0.75, 0.9, 1, "linkage", ["CD3D", "CD3E"]],
        ["B cells", np.int64(4_115), 0.25, 0.25, None, None, None, []],
    ],
    caption="Clusters, largest first",
    colours=["#4e79a7", "#f28e2b"],
)


def page_of(*sections, **changes):
    page = {
        "title": "scrcl: cells.h5ad",
        "sections": sections,
        "stages": [StageUsage("read", 1.5, 2_000_000, 3_000_000, 1234.5)],
        "config": 'seed = 0\nbatch_key = "donor"',
        "versions": {"scrcl": "0.1.0", "numpy": "2.0"},
    }
    return render_page(Page(**{**page, **changes}))


@pytest.fixture(scope="module")
def whole_page():
    rng = np.random.default_rng(0)
    picture = base64.b64encode(b"a picture").decode()
    history = [{"step": step, "total": 1 / step} for step in (1, 2, 3)]
    return page_of(
        Section(
            "Cells",
            figures=[Figure(picture, "UMAP", "png"), Figure(picture, "Tissue", "png")],
            notes=["Only 40 cells are drawn."],
        ),
        Section(
            "Clusters",
            table=CLUSTERS,
            figures=[Figure(share_bars(rng.random(50), "confidence"), "", "svg", wide=True)],
            overview={"clusters": "2"},
        ),
        Section("Batches", facts={"batches": "3", "NMI": "0.1"}),
        Section("Training", figures=[Figure(loss_curves(history), "Loss terms", "svg")]),
        facts={"input": "cells.h5ad"},
    )


def test_every_kind_of_section_is_shown(whole_page):
    read = Reader(whole_page)
    assert read.texts["h2"] == [
        *("Cells", "Clusters", "Batches", "Training"),
        *("Time and memory", "Settings"),
    ]
    assert read.texts["dt"] == ["input", "clusters", "batches", "NMI"]
    assert read.texts["dd"] == ["cells.h5ad", "2", "3", "0.1"]
    assert read.texts["li"] == ["Only 40 cells are drawn."]
    assert read.texts["figcaption"] == ["UMAP", "Tissue", "Loss terms"]
    assert (read.tags.count("img"), read.tags.count("svg")) == (2, 2)
    assert read.texts["caption"] == ["Clusters, largest first"]
    assert read.texts["pre"][0] == 'seed = 0\nbatch_key = "donor"'
    assert "numpy 2.0" in read.texts["pre"][1]


def test_cells_of_a_table_are_written_by_the_kind_of_their_column():
    read = Reader(page_of(Section("Clusters", table=CLUSTERS), stages=[]))
    assert read.texts["td"] == [
        *("12,345", "75.0%", "0.90", "1", "linkage", "CD3D, CD3E"),
        *("4,115", "25.0%"),
    ]
    assert {"T cells", "B cells", *(column.name for column in CLUSTERS.columns)} - {""} <= set(
        read.texts["th"]
    )
    html = page_of(Section("Clusters", table=CLUSTERS))
    assert html.count('class="dot" style="background:#f28e2b"') == 1
    assert "width:75.0%;background:#4e79a7" in html


def test_a_table_without_colours_has_no_dots():
    table = Table([Column("name", "label"), Column("part", "bar")], [["a", 0.5]])
    html = page_of(Section("Parts", table=table))
    assert 'class="dot"' not in html
    assert "width:50.0%" in html


@pytest.mark.parametrize("colours", [[], ["#123456"]])
def test_rows_must_fit_their_columns_and_colours(colours):
    with pytest.raises(AssertionError):
        Table([Column("name")], [["a", "b"], ["c"]], colours=colours)
    with pytest.raises(AssertionError):
        Table([Column("name")], [["a"], ["b"]], colours=["#123456"])


def test_html_in_names_is_shown_as_text():
    evil = "<script>alert('x')</script>\"&"
    table = Table(
        columns=[Column(evil, "label"), Column(evil), Column(evil, "markers")],
        rows=[[evil, evil, [evil, evil]]],
        caption=evil,
        colours=[f'red"{evil}'],
    )
    png = base64.b64encode(b"not a picture").decode()
    section = Section(
        evil, {evil: evil}, [Figure(png, evil, "png")], table, overview={evil: evil}, notes=[evil]
    )
    html = page_of(
        section,
        title=evil,
        facts={evil: evil},
        stages=[StageUsage(evil, 1, 1, 1)],
        config=evil,
        versions={"scrcl": evil, evil: evil},
    )
    read = Reader(html)
    assert "script" not in read.tags
    assert "<script" not in html
    for tag in ("title", "h1", "h2", "dt", "dd", "li", "th", "td", "caption", "figcaption", "pre"):
        assert any(evil in text for text in read.texts[tag]), tag


def test_empty_sections_vanish_but_their_overview_and_notes_stay():
    html = page_of(
        Section("Training"),
        Section("Cluster search", overview={"clusters": "7"}, notes=["Seven is a guess."]),
        Section("Genes", facts={"edges": "12"}),
    )
    read = Reader(html)
    assert read.texts["h2"] == ["Genes", "Time and memory", "Settings"]
    assert read.texts["dt"] == ["clusters", "edges"]
    assert read.texts["li"] == ["Seven is a guess."]


def test_a_page_without_notes_has_no_box():
    assert '<ul class="notes">' not in page_of(Section("Genes", facts={"edges": "12"}))


def test_overview_keeps_the_order_of_sections_and_facts_of_the_same_name():
    read = Reader(
        page_of(
            Section("B", overview={"edges": "1", "recall": "exact"}),
            Section("A", overview={"edges": "2"}),
            facts={"seed": "0"},
        )
    )
    assert read.texts["dt"] == ["seed", "edges", "recall", "edges"]
    assert read.texts["dd"] == ["0", "1", "exact", "2"]


def test_the_page_needs_no_network_and_no_script(whole_page):
    read = Reader(whole_page)
    assert read.links
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in read.links)
    assert not {"script", "link", "iframe", "object", "base"} & set(read.tags)
    assert not [name for name in read.attributes if name.startswith("on")]
    assert "@import" not in whole_page
    assert whole_page.count("url(") == whole_page.count("url(#")
    assert "default-src 'none'" in whole_page


def test_stages_have_their_time_memory_and_speed():
    stages = [
        StageUsage("read", 4.0, 2_000_000_000, 3_000_000, 1234.5),
        StageUsage("train", 1.0, 1_000_000_000, 0),
    ]
    read = Reader(html := page_of(stages=stages))
    assert [text for text in read.texts["th"] if text in ("read", "train")] == [
        *("read", "read", "train")  # the first is the heading of the column of bytes read
    ]
    assert read.texts["td"][:4] == ["4.00", "2.00 GB", "3.00 MB", "1,234"]
    assert read.texts["td"][4:] == ["1.00", "1.00 GB", "0 bytes"]
    assert html.count("width:25.0%") == html.count("width:50.0%") == 1
    assert html.count("width:100.0%") == 2


def test_stages_that_took_no_time_have_empty_bars():
    html = page_of(stages=[StageUsage("read", 0.0, 0, 0)])
    assert html.count("width:0.0%") == 2


def test_the_page_has_the_colours_of_the_report():
    html = page_of()
    for name, colour in PAGE_COLOURS.items():
        assert f"--{name}: {colour};" in html
        assert f"var(--{name})" in html
