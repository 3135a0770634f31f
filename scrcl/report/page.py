"""Temporary."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Column", "Figure", "Page", "Section", "StageUsage", "Table", "render_page"]


@dataclass(frozen=True)
class Figure:
    content: str
    caption: str
    kind: Literal["svg", "png"]
    wide: bool = False


@dataclass(frozen=True)
class Column:
    name: str
    kind: Literal["text", "number", "share", "bar", "markers", "label"]


@dataclass(frozen=True)
class Table:
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    figures: Sequence[Figure] = ()
    table: Table | None = None
    overview: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class StageUsage:
    name: str
    seconds: float
    peak_rss_bytes: int
    bytes_read: int
    cells_per_s: float | None


@dataclass(frozen=True)
class Page:
    title: str
    sections: Sequence[Section]
    stages: Sequence[StageUsage]
    config: str
    versions: Mapping[str, str]
    facts: Mapping[str, str] = field(default_factory=dict)


def render_page(page: Page) -> str:
    return str(page)
