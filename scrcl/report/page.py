"""The report as an HTML page: sections, figures and tables in, one self-contained text out."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from numbers import Integral
from typing import TYPE_CHECKING, Literal, TypeAlias

from scrcl._sizes import format_bytes
from scrcl.report.colours import DARK_COLOURS, PAGE_COLOURS
from scrcl.report.maps import payload
from scrcl.report.pictures import still_pictures

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

    from scrcl.report.maps import Maps

__all__ = ["Cell", "Column", "Figure", "Page", "Section", "StageUsage", "Table", "render_page"]

Cell: TypeAlias = str | float | Sequence[str] | None


@dataclass(frozen=True)
class Figure:
    """A picture with its caption.

    Attributes
    ----------
    content
        SVG text, or a PNG in base64. SVG is put into the page as it is, so it must come from `figures`.
    wide
        Whether the picture gets a line of its own. Others share a line where there is space.
    legend
        Names and CSS colours of what the picture shows, below it.
    """

    content: str
    caption: str
    kind: Literal["svg", "png"]
    wide: bool = False
    legend: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    kind
        How the cells are shown:

        - ``text``: as they are;
        - ``number``: whole numbers with thousands separators, others with two decimals;
        - ``score``: numbers with one decimal;
        - ``share``: a fraction between 0 and 1, in percent;
        - ``bar``: a fraction between 0 and 1, as a bar in the row's colour;
        - ``markers``: gene names, in italics;
        - ``label``: a name after a dot in the row's colour.
    """

    name: str
    kind: Literal["text", "number", "score", "share", "bar", "markers", "label"] = "text"


@dataclass(frozen=True)
class Table:
    """A table, such as that of the clusters.

    Attributes
    ----------
    rows
        One sequence per row, in the order of ``columns``. None leaves a cell empty.
    colours
        One CSS colour per row, for labels and bars. Without colours there are no dots.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    colours: Sequence[str] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            assert len(row) == len(self.columns), "a row has one cell per column"
        assert len(self.colours) in (0, len(self.rows)), "a colour per row, or none"


@dataclass(frozen=True)
class Section:
    """What one stage contributes to the report.

    A section without text, facts, figures or table has no heading on the page. Its overview and notes
    still appear.

    Attributes
    ----------
    text
        Sentences below the heading.
    facts
        Names and values, shown in the section.
    overview
        Names and values, shown at the top of the page.
    notes
        What every reader should see, shown in the box below the overview.
    technical
        Whether it is shown at the end of the page, folded.
    """

    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    figures: Sequence[Figure] = ()
    table: Table | None = None
    overview: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    technical: bool = False
    text: str = ""

    @property
    def has_content(self) -> bool:
        """Whether there is anything to show below the heading."""
        return bool(self.text or self.facts or self.figures or self.table)


@dataclass(frozen=True)
class StageUsage:
    """A row of the table of stages: time, memory and reading of one stage.

    Attributes
    ----------
    cells_per_s
        None where the stage does not count cells.
    """

    name: str
    seconds: float
    peak_rss_bytes: int
    bytes_read: int
    cells_per_s: float | None = None


@dataclass(frozen=True)
class Page:
    """Everything the page shows.

    Attributes
    ----------
    sections
        In the order of the page. Their overviews and notes keep this order too.
    config
        The resolved settings as TOML.
    versions
        Versions of the libraries, by name; ``scrcl`` is among them.
    facts
        Names and values at the top of the page, before the overviews of the sections.
    summary
        Sentences at the top of the page. Without them the overviews stand there, and technical sections are open.
    maps
        The interactive part. Without it the page has no script.
    """

    title: str
    sections: Sequence[Section]
    stages: Sequence[StageUsage]
    config: str
    versions: Mapping[str, str]
    facts: Mapping[str, str] = field(default_factory=dict)
    summary: Sequence[str] = ()
    maps: Maps | None = None


def render_page(page: Page) -> str:
    """Return the page as one HTML text that needs no network."""
    script = "" if page.maps is None else _file("page.js") + _file("save.js")
    return _template().render(
        style=_file("page.css"),
        script=script,
        # The browser runs the script with this hash and no other.
        allowed=f"; script-src 'sha256-{_hash_of(script)}'" if script else "",
        payload="" if page.maps is None else payload(page.maps),
        pictures=[] if page.maps is None else list(still_pictures(page.maps)),
        page=page,
        # Pairs, not one mapping: two sections may use the same name, and both facts are shown.
        overview=[
            *page.facts.items(),
            *(fact for section in page.sections for fact in section.overview.items()),
        ],
        notes=[note for section in page.sections for note in section.notes],
        sections=[section for section in page.sections if section.has_content],
        # Bars are relative to the largest value; to 1 if no stage took measurable time, because of the division.
        most_seconds=max((stage.seconds for stage in page.stages), default=0) or 1,
        most_bytes=max((stage.peak_rss_bytes for stage in page.stages), default=0) or 1,
        colours=PAGE_COLOURS,
        dark_colours=DARK_COLOURS,
    )


@cache  # compiling it takes a tenth of a second, and one process may write many pages
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=PackageLoader("scrcl.report", "templates"),
    )
    environment.filters |= {
        "code": _code,
        "bytes": format_bytes,
        "number": _number,
        "percent": _percent,
        "score": _score,
    }
    return environment.get_template("page.html.jinja")


def _file(name: str) -> str:
    return files("scrcl.report").joinpath("templates", name).read_text(encoding="utf-8")


def _hash_of(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _code(text: str) -> Markup:
    """Return a text with what it has in backquotes as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - it is escaped


def _number(value: object) -> str:
    if value is None:
        return ""
    # Integral, not int: NumPy's integers are whole numbers too.
    return f"{value:,}" if isinstance(value, Integral) else f"{value:,.2f}"


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
