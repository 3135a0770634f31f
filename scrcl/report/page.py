"""Fill the page: numbers and pictures in, HTML out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrcl._sizes import format_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Page", "PredictionPage", "render_page", "render_prediction"]


@dataclass(frozen=True)
class Page:
    """What the page shows.

    Attributes
    ----------
    facts
        Names and values of what went in and what was found.
    clusters
        A row a cluster: ``name``, ``n_cells``, ``share``, ``confidence`` (median), ``n_unsure``, ``markers``,
        ``colour``, and ``batch_entropy`` where batches are known.
    tree
        SVG, or None where there is one cluster.
    confidence
        SVG.
    batches
        Names and values of how far clusters follow batches; empty where there are none.
    umap, spatial
        Base64 PNG, or None where there is none.
    graph
        Names and values of what is known of the cell graph.
    degrees
        SVG.
    losses
        SVG, or None.
    stages
        Records of the stages, as in ``run.json``.
    notes
        Remarks that the reader should know.
    config
        The resolved settings as TOML.
    versions
        Versions of the libraries.
    """

    title: str
    facts: Mapping[str, str]
    clusters: Sequence[Mapping[str, Any]]
    tree: str | None
    confidence: str
    batches: Mapping[str, str]
    umap: str | None
    spatial: str | None
    graph: Mapping[str, str]
    degrees: str
    losses: str | None
    stages: Sequence[Mapping[str, Any]]
    notes: Sequence[str]
    config: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class PredictionPage:
    """What the page of a prediction shows; fields that `Page` has too mean the same.

    Attributes
    ----------
    clusters
        A row a cluster of the run: ``name``, ``n_cells``, ``share``, ``share_atlas``, ``confidence`` (mean,
        or None), ``markers``, ``colour``.
    confidence
        SVG.
    """

    title: str
    facts: Mapping[str, str]
    clusters: Sequence[Mapping[str, Any]]
    confidence: str
    stages: Sequence[Mapping[str, Any]]
    notes: Sequence[str]
    config: str
    versions: Mapping[str, str]


def render_page(page: Page) -> str:
    """Return the page as one self-contained HTML text (no script, no network)."""
    return _rendered("page.html.jinja", page)


def render_prediction(page: PredictionPage) -> str:
    """Return the page of a prediction, self-contained too."""
    return _rendered("prediction.html.jinja", page)


def _rendered(template: str, page: Page | PredictionPage) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        loader=PackageLoader("scrcl.report", "templates"),
    )
    environment.filters["bytes"] = format_bytes
    longest = max((stage["seconds"] for stage in page.stages), default=1.0) or 1.0
    largest = max((stage["peak_rss_bytes"] for stage in page.stages), default=1) or 1
    return environment.get_template(template).render(page=page, longest=longest, largest=largest)
