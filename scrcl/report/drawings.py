"""Drawings of clusters for the page, as SVG that takes its colours from it: dot plot, PAGA, composition.

They are written as text: a dot plot has thousands of equal elements, which matplotlib draws slowly, and the colours of
the page are not known before it is shown (light or dark).
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from scrcl.report.svg import cells_of, named, svg_fluid, svg_open, svg_text, text_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.typing import FloatArray, IntArray

__all__ = ["composition_bars", "dot_plot", "paga_graph"]

_CELL = 18
_KEY_WIDTH, _KEY_HEIGHT = 350, 40
_DOTS_SIZE = 12
"""Size of the names in a dot plot."""
_LABEL_SIZE = 14.5
"""Size of the names of clusters: bold ones of 12 pixels take more room, and have a light outline."""


def dot_plot(
    mean: FloatArray,
    share: FloatArray,
    genes: Sequence[str],
    clusters: Sequence[str],
    *,
    cell: str = "cell",
) -> str:
    """Return a dot plot: size is the share of cells, darkness the mean, scaled by gene.

    The names of the rows are a drawing of their own, which stays in sight where the dots are wider than the page.

    Parameters
    ----------
    mean, share
        ndarrays of float, shape (n_genes, n_clusters): mean log value, and share of cells above 0.
    genes, clusters
        Names of the columns and of the rows of the drawing.
    cell
        What a cell is called.
    """
    low, high = mean.min(axis=1, keepdims=True), mean.max(axis=1, keepdims=True)
    scaled = (mean - low) / np.maximum(high - low, 1e-9)
    left = 14 + _widest(clusters)
    top = 12 + _widest(genes)
    height = top + _CELL * len(clusters) + _KEY_HEIGHT
    width = max(_CELL * len(genes) + 4, _KEY_WIDTH)
    rows = [svg_open(left, height, "Names of the rows of the dot plot")]
    parts = [svg_open(width, height, "Dot plot of marker genes")]
    for i, gene in enumerate(genes):
        x = _CELL * (i + 0.5) + 4
        parts.append(
            f'<text class="gene" transform="translate({x:.0f} {top - 6:.0f}) rotate(-90)">{named(gene)}</text>'
        )
    for j, cluster in enumerate(clusters):
        y = top + _CELL * (j + 0.5)
        rows.append(
            f'<text x="{left - 8:.0f}" y="{y + 4:.0f}" text-anchor="end">{named(cluster)}</text>'
        )
        for i, gene in enumerate(genes):
            radius = _radius(share[i, j])
            if radius < 0.5:
                continue
            about = f"{gene} in {cluster}: mean {mean[i, j]:.2f}, {share[i, j]:.0%} of {cell}s"
            parts.append(
                f'<circle class="dot" cx="{_CELL * (i + 0.5):.0f}" cy="{y:.0f}" r="{radius:.1f}" '
                f'fill-opacity="{0.08 + 0.92 * scaled[i, j]:.2f}"><title>{escape(about)}</title></circle>'
            )
    parts += _key_of_dots(height - 0.4 * _KEY_HEIGHT, cell)
    return "".join(['<div class="dots">', *rows, "</svg>", *parts, "</svg></div>"])


def _radius(share: float) -> float:
    """Return the radius of a dot, whose area is the share of cells."""
    return float(0.45 * _CELL * np.sqrt(share))


def _key_of_dots(y: float, cell: str) -> list[str]:
    """Return what sizes and strengths mean, as dots and words on a line."""
    drawn, x = [], 10.0
    for share, text in ((0.1, "10%"), (0.5, "50%"), (1.0, f"100% of {cell}s")):
        drawn.append(f'<circle class="dot" cx="{x:.0f}" cy="{y:.0f}" r="{_radius(share):.1f}"/>')
        drawn.append(svg_text(x + 11, y + 4, text, anchor="start"))
        x += 52
    for opacity in (0.08, 0.5, 1):
        drawn.append(
            f'<circle class="dot" cx="{x + 66:.0f}" cy="{y:.0f}" r="{_radius(1):.1f}" fill-opacity="{opacity}"/>'
        )
        x += 18
    drawn.append(svg_text(x + 62, y + 4, "low to high", anchor="start"))
    return drawn


def _widest(names: Sequence[str]) -> float:
    return max((text_width(name, _DOTS_SIZE) for name in names), default=0)


def paga_graph(
    connectivities: FloatArray,
    where: FloatArray,
    sizes: IntArray,
    names: Sequence[str],
    colours: Sequence[str],
    *,
    least: float = 0.02,
    cell: str = "cell",
) -> str:
    """Return clusters as discs, joined by lines whose width is the connectivity; those below ``least`` are left out.

    Parameters
    ----------
    connectivities
        ndarray of float, shape (n_clusters, n_clusters), symmetric, 0 to 1.
    where
        ndarray of float, shape (n_clusters, 2).
    """
    width, height = 680, 420
    margin = np.array([84, 34])  # names stick out at the sides
    span = np.maximum(where.max(axis=0) - where.min(axis=0), 1e-9)
    at = margin + (where - where.min(axis=0)) / span * (np.array([width, height]) - 2 * margin)
    at[:, 1] = height - at[:, 1]
    radii = 6 + 16 * np.sqrt(sizes / max(int(sizes.max()), 1))
    parts = [svg_open(width, height, "Clusters and their links")]
    for i, j in zip(*np.nonzero(np.triu(connectivities, 1) >= least), strict=True):
        about = f"{names[i]} and {names[j]}: {connectivities[i, j]:.2f}"
        parts.append(
            f'<line class="link" x1="{at[i, 0]:.0f}" y1="{at[i, 1]:.0f}" x2="{at[j, 0]:.0f}" y2="{at[j, 1]:.0f}" '
            f'stroke-width="{0.8 + 8 * connectivities[i, j]:.1f}"><title>{escape(about)}</title></line>'
        )
    for name, colour, (x, y), radius, size in zip(names, colours, at, radii, sizes, strict=True):
        about = f"{name}: {cells_of(int(size), cell)}"
        parts.append(
            f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius:.0f}" fill="{escape(colour)}"><title>{escape(about)}</title>'
            "</circle>"
        )
    for name, (x, y) in zip(names, _places_of_names(names, at, width), strict=True):
        parts.append(
            f'<text class="halo" x="{x:.0f}" y="{y + 4:.0f}" text-anchor="middle">{named(name)}</text>'
        )
    return "".join([*parts, "</svg>"])


def _places_of_names(
    names: Sequence[str], at: FloatArray, width: float
) -> list[tuple[float, float]]:
    """Return where names are written: inside of the drawing, and on other lines where they would overlap."""
    places: list[tuple[float, float]] = []
    halves = [text_width(name, _LABEL_SIZE) / 2 for name in names]
    for half, (middle, centre) in zip(halves, at, strict=True):
        x = min(max(float(middle), half), width - half)
        around = [y for (x0, y), h in zip(places, halves, strict=False) if abs(x0 - x) < half + h]
        tried = [float(centre) + step * _LABEL_SIZE for step in (0, 1, -1, 2, -2)]
        free = (y for y in tried if all(abs(y - other) >= _LABEL_SIZE for other in around))
        places.append((x, next(free, tried[0])))
    return places


def composition_bars(
    counts: IntArray,
    groups: Sequence[str],
    clusters: Sequence[str],
    colours: Sequence[str],
    *,
    cell: str = "cell",
) -> str:
    """Return the shares of the clusters in each group (batch, sample), as stacked bars below the names of the groups.

    The drawing is as wide as its place.

    Parameters
    ----------
    counts
        ndarray of int, shape (n_groups, n_clusters).
    """
    line, bar = 38, 16
    parts = [svg_fluid(line * len(groups), f"Clusters in each group of {cell}s")]
    for row, (group, of_group) in enumerate(zip(groups, counts, strict=True)):
        y, x, total = line * row + 17, 0.0, max(int(of_group.sum()), 1)
        parts.append(
            f'<text x="0" y="{y - 4}">{named(group)}</text>'
            f'<text x="100%" y="{y - 4}" text-anchor="end">{cells_of(int(of_group.sum()), cell)}</text>'
        )
        for cluster, colour, n in zip(clusters, colours, of_group, strict=True):
            share = int(n) / total
            if share < 2e-4:
                continue
            about = f"{cluster} in {group}: {cells_of(int(n), cell)}, {share:.1%}"
            parts.append(
                f'<rect x="{100 * x:.2f}%" y="{y}" width="{100 * share:.2f}%" height="{bar}" fill="{escape(colour)}">'
                f"<title>{escape(about)}</title></rect>"
            )
            x += share
    return "".join([*parts, "</svg>"])
