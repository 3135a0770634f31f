"""From facts to one HTML page. Stages hand over sections; this file knows none of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from scrcl._sizes import format_bytes
from scrcl.report.colours import MEMORY_BAR, SHARE_BAR, palette

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Column", "Figure", "Page", "Section", "StageUsage", "Table", "render_page"]


@dataclass(frozen=True)
class Figure:
    """A picture with a caption.

    Attributes
    ----------
    content
        SVG text, or a PNG in base64.
    caption
        What it shows.
    kind
        Which of both ``content`` is.
    """

    content: str
    caption: str
    kind: Literal["svg", "png"]


@dataclass(frozen=True)
class Column:
    """A column of a table: its name, and how its values are shown.

    ``label`` has a dot in the colour of its row, ``bar`` draws a share from 0 to 1, and ``list`` joins texts. A value
    of None is left empty.
    """

    name: str
    kind: Literal["label", "number", "share", "bar", "list"]


@dataclass(frozen=True)
class Table:
    """Columns, and rows with one value for each column."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Section:
    """What one stage adds to the page.

    Attributes
    ----------
    title
        Heading. A section without facts, figures and table is left out.
    facts
        Names and values.
    figures, table
        Shown below the facts.
    overview
        Names and values for the top of the page.
    notes
        What the reader should know.
    """

    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    figures: Sequence[Figure] = ()
    table: Table | None = None
    overview: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def is_shown(self) -> bool:
        """Whether there is anything below the heading."""
        return bool(self.facts or self.figures or self.table)


@dataclass(frozen=True)
class StageUsage:
    """What a stage took."""

    name: str
    seconds: float
    peak_rss_bytes: int
    bytes_read: int
    cells_per_s: float | None


@dataclass(frozen=True)
class Page:
    """The whole page.

    Attributes
    ----------
    title
        Heading.
    facts
        Names and values at the top: those of the overview in the order of the reader, not of the sections.
    sections
        In the order in which they are shown.
    stages
        Rows of the table of time and memory.
    config
        The settings as TOML.
    versions
        Versions of the libraries.
    """

    title: str
    facts: Mapping[str, str]
    sections: Sequence[Section]
    stages: Sequence[StageUsage]
    config: str
    versions: Mapping[str, str]

    @property
    def notes(self) -> list[str]:
        """Notes of all sections, each once."""
        return list(dict.fromkeys(note for section in self.sections for note in section.notes))


def render_page(page: Page) -> str:
    """Return the page as one self-contained HTML text: no script, no network."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        loader=PackageLoader("scrcl.report", "templates"),
    )
    environment.filters["bytes"] = format_bytes
    rows = max((len(s.table.rows) for s in page.sections if s.table is not None), default=0)
    return environment.get_template("page.html.jinja").render(
        page=page,
        colours=palette(rows),
        share_bar=SHARE_BAR,
        memory_bar=MEMORY_BAR,
        longest=max((stage.seconds for stage in page.stages), default=1.0) or 1.0,
        largest=max((stage.peak_rss_bytes for stage in page.stages), default=1) or 1,
    )
