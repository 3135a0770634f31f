"""Tables of the comparison of donors: means by family and way, equal mixing, harm, and each case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.page import table
from bench.batches.donor_cases import FAMILIES
from bench.batches.spaces import LACKING, SCORES, spaces_scored
from bench.batches.ways import OURS, PEERS, process_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench._frame.rows import Row

__all__ = ["tables"]

_DEFAULT = "correct"
_PLAIN = {
    "genes only": "no batch key",
    "correct": "genes only",
    "Harmony + Leiden": "PCA + Leiden",
    "balanced + Leiden": "PCA + Leiden",
}
"""What a way would have found without joining batches; of `genes only`, without knowing them."""
_HARM = 0.01
_EQUAL = 0.02
_NO_EFFECT = "random"

_Key = tuple[str, str, int]


def tables(rows: list[Row]) -> list[str]:
    """Return the body of the page; rows are in the order of families, sets and ways."""
    return [
        _NOTE,
        "",
        _loading(rows),
        "",
        *_means(rows),
        "",
        *_equal_mixing(rows),
        "",
        *_harm(rows),
        "",
        *_spaces(rows),
        "",
        *_each(rows),
    ]


_NOTE = (
    "`no batch key`: scrcl without batches. `genes only`: correct.method=none. `correct`: the default with a batch "
    "key. Leiden: on 15 neighbours, at resolution 1 (found), or at one that gives "
    "K. K off: error of the number found, as a share of K. Isolated types: best F1 of a cluster with a type that "
    "one batch alone has (95 % of its cells), mean. iLISI: how well batches mix in the space that is clustered, 0 "
    "to 1 (scrcl: components, and its embedding in brackets; balanced: its graph, where all batches have as many "
    "neighbours by design). CPU seconds: up to the clusters found, and what the clusters at K take after that, "
    "without loading and compiling libraries, which is once for a process. Memory: peak of the process, with its "
    "libraries."
)


def _loading(rows: list[Row]) -> str:
    """Return what the processes took to load and compile."""
    found = {process_of(row["way"]): row["cpu_load"] for row in rows if row["cpu_load"] is not None}
    listed = ", ".join(f"{seconds:.0f} ({name})" for name, seconds in found.items())
    return f"CPU seconds to load and compile: {listed or 'not measured'}."


def _means(rows: list[Row]) -> list[str]:
    """Return means over the cases of each family; once more over fewer cases if a way has only those."""
    columns = ["family (cases)", "way", "ARI found", "K off (too few in)", "ARI at K"]
    columns += ["isolated types: found", "at K", "iLISI", "CPU s: found", "at K", "memory, MB"]
    body: list[list[object]] = []
    for family, own in _families_and_all(rows):
        every = {_key(row) for row in own}
        for cases in _shared_cases(own) if family in FAMILIES else [every]:
            for way in _ways(own):
                some = [row for row in own if row["way"] == way and _key(row) in cases]
                if len(some) == len(cases):
                    body.append([f"{family} ({len(cases)})", way, *_mean_cells(some)])
    return table(columns, body)


def _families_and_all(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """Return the rows of each family, and of all with an effect after the last of these."""
    found = [
        (family, [row for row in rows if row["family"] == family]) for family in _families(rows)
    ]
    effect = [row for row in rows if row["family"] != _NO_EFFECT]
    n = sum(family != _NO_EFFECT for family, _ in found)
    return [*found[:n], ("all with an effect", effect), *found[n:]] if n > 1 else found


def _shared_cases(rows: list[Row]) -> list[set[_Key]]:
    """Return all cases, and then the fewer ones that every way has, if there are any."""
    every = {_key(row) for row in rows}
    shared = every.intersection(
        *({_key(row) for row in rows if row["way"] == way} for way in _ways(rows))
    )
    return [every, shared] if shared and shared != every else [every]


def _mean_cells(rows: list[Row]) -> list[object]:
    off = np.array([(row["k_found"] - row["k"]) / row["k"] for row in rows])
    return [
        _mean(row["ari_found"] for row in rows),
        f"{np.abs(off).mean():.0%} ({(off < 0).sum()})",
        _mean(row["ari_at_k"] for row in rows),
        _mean(row["isolated_found"] for row in rows),
        _mean(row["isolated_at_k"] for row in rows),
        _mixing(rows),
        _mean((row["cpu_found"] for row in rows), ".1f"),
        _mean((row["cpu_at_k"] for row in rows), ".1f"),
        _mean((_megabytes(row) for row in rows), ",.0f"),
    ]


def _megabytes(row: Row) -> float | None:
    peak = row["peak_rss_bytes"]
    return None if peak is None else peak / 1e6


def _mean(values: Iterable[float | None], form: str = ".3f") -> str:
    """Return the mean of the values that are there."""
    known = [value for value in values if value is not None]
    return f"{np.mean(known):{form}}" if known else ""


def _mixing(rows: list[Row]) -> str:
    inner = _mean((row["spaces"].get("embedding", {}).get("iLISI") for row in rows), ".2f")
    outer = _mean((_ilisi(row) for row in rows), ".2f")
    return f"{outer} ({inner})" if inner else outer


def _ilisi(row: Row) -> float | None:
    """Return iLISI of the space that was clustered."""
    for name, scores in row["spaces"].items():
        if name != "embedding" and scores:
            return float(scores["iLISI"])
    return None


def _equal_mixing(rows: list[Row]) -> list[str]:
    """Return ARI in those cases with an effect where `correct` and a peer mix alike."""
    found = _by_case(rows)
    body = []
    for way in _ways(rows):
        if way in ("genes only", "no batch key", _DEFAULT):
            continue
        pairs = [
            (ways[_DEFAULT], ways[way])
            for key, ways in found.items()
            if key[0] != _NO_EFFECT and {way, _DEFAULT} <= ways.keys()
        ]
        known = [(_ahead(ours, peer), ours, peer) for ours, peer in pairs]
        known = [one for one in known if one[0] is not None]
        alike = [one[1:] for one in known if abs(one[0]) <= _EQUAL]
        more = [one[1:] for one in known if one[0] > _EQUAL]
        less = [one[1:] for one in known if one[0] < -_EQUAL]
        if known:
            body.append([way, len(known), *(_pair_cell(some) for some in (alike, more, less))])
    title = (
        f"At equal mixing: cases with an effect, by iLISI of the components of `{_DEFAULT}` next to that of the peer's "
        f"space (equal: within {_EQUAL}). Number of cases, and in them ARI at K of `{_DEFAULT}` : of the peer."
    )
    columns = [
        "peer",
        "cases",
        "equal mixing",
        f"`{_DEFAULT}` mixes more",
        f"`{_DEFAULT}` mixes less",
    ]
    return [title, "", *table(columns, body)]


def _ahead(ours: Row, peer: Row) -> Any:
    """Return by how much the batches mix more in the space of the first; None where it is not known."""
    mixed = _ilisi(ours), _ilisi(peer)
    return None if mixed[0] is None or mixed[1] is None else mixed[0] - mixed[1]


def _pair_cell(pairs: list[tuple[Row, Row]]) -> str:
    if not pairs:
        return "0"
    ours, peer = (_mean(row["ari_at_k"] for row in some) for some in zip(*pairs, strict=True))
    return f"{len(pairs)}; {ours} : {peer}"


def _harm(rows: list[Row]) -> list[str]:
    """Return how often a way is below what it would have found without joining batches."""
    found, body = _by_case(rows), []
    for family in _families(rows):
        # Where there is nothing to join, the default leaves out the genes of batches too.
        plain_of = _PLAIN | ({_DEFAULT: "no batch key"} if family == _NO_EFFECT else {})
        for way, plain in plain_of.items():
            pairs = [
                (key, ways[way], ways[plain])
                for key, ways in found.items()
                if key[0] == family and {way, plain} <= ways.keys()
            ]
            if pairs:
                changes = *_changes(pairs, "ari_found"), *_changes(pairs, "ari_at_k")
                body.append([f"{family} ({len(pairs)})", f"{way} : {plain}", *changes])
    columns = ["family (cases)", "way : without", "found: change", f"lose > {_HARM}", "most lost"]
    columns += ["at K: change", f"lose > {_HARM}", "most lost"]
    title = (
        "Harm: mean change of ARI by joining batches, cases that lose more than "
        f"{_HARM}, and the most that one loses. In `{_NO_EFFECT}` there is nothing to join."
    )
    return [title, "", *table(columns, body)]


def _changes(pairs: list[tuple[_Key, Row, Row]], score: str) -> list[object]:
    changes = [one[score] - plain[score] for _, one, plain in pairs]
    worst = int(np.argmin(changes))
    most = f"{-changes[worst]:.2f} ({pairs[worst][0][1]})" if changes[worst] < -_HARM else ""
    n = sum(change < -_HARM for change in changes)
    return [f"{np.mean(changes):+.3f}", f"{n} of {len(changes)}", most]


def _spaces(rows: list[Row]) -> list[str]:
    """Return the mean scores of each space by family and way."""
    scored = [one for one in spaces_scored(rows) if one.space != "graph"]  # has no points
    if not scored:
        return [LACKING]
    body: list[list[object]] = []
    for family, way, space in dict.fromkeys((one.family, one.way, one.space) for one in scored):
        own = [o.scores for o in scored if (o.family, o.way, o.space) == (family, way, space)]
        means = (_mean(scores.get(name) for scores in own) for name in SCORES)
        body.append([f"{family} ({len(own)})", way, space, *means])
    title = "Spaces by scib-metrics: batches mix (iLISI), and types are apart (the others), 0 to 1."
    return [title, "", *table(["family (cases)", "way", "space", *SCORES], body)]


def _each(rows: list[Row]) -> list[str]:
    """Return ARI of each way in each case."""
    ways, body = _ways(rows), []
    for key, found in _by_case(rows).items():
        first = next(iter(found.values()))
        name = f"{key[1]} ({first['n_cells']:,} cells, {first['n_batches']} batches, {first['k']} types)"
        body.append([key[0], name, *(_case_cell(found.get(way)) for way in ways)])
    title = "Each case: ARI found (clusters), and at K. An asterisk: left as is, since no effect was seen."
    return [title, "", *table(["family", "case", *ways], body)]


def _case_cell(row: Row | None) -> str:
    if row is None:
        return ""
    left = "\\*" if row["way"] == _DEFAULT and not row["corrected"] else ""
    return f"{row['ari_found']:.2f} ({row['k_found']}), {row['ari_at_k']:.2f}{left}"


def _by_case(rows: Sequence[Row]) -> dict[_Key, dict[str, Any]]:
    found: dict[_Key, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(_key(row), {})[row["way"]] = row
    return found


def _key(row: Row) -> _Key:
    return row["family"], row["dataset"], row["seed"]


def _families(rows: list[Row]) -> list[str]:
    present = {row["family"] for row in rows}
    return [family for family in FAMILIES if family in present]


def _ways(rows: list[Row]) -> list[str]:
    present = {row["way"] for row in rows}
    return [way for way in (*OURS, *PEERS) if way in present]
