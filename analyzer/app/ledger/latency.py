"""Histograms of both versions over the same edges, per interval."""

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from analyzer.app.ledger.grid import Grid, Part
    from analyzer.app.ledger.lines import Bools, Ints, Lines

Edges = tuple[float, ...]


class Histogram(NamedTuple):
    """One demand's share of a table of counts.

    Attributes
    ----------
    edges_ms
        Finite edges that both versions have at all reporters, ascending [ms].
    counts : ndarray, shape (n_cells, 2, n_edges + 1), int64
        By cell of the whole grid, version and bucket; not cumulative.
    """

    edges_ms: Edges
    counts: "Ints"


class Table(NamedTuple):
    """What `count_latencies` found.

    Attributes
    ----------
    histograms
        By demand.
    refused : ndarray, shape (n,), int64
        Demands, once for each reporter and bin whose buckets do not add up, or lack +Inf.
    """

    histograms: dict[int, Histogram]
    refused: "Ints"


def find_edges(lines: "Lines") -> tuple[dict[int, Edges], "Bools"]:
    """Find each demand's common edges, and the lines of histograms without +Inf, which are no use."""
    sets: dict[tuple[int, int, int], set[float]] = defaultdict(set)
    owners = list(zip(lines.demand.tolist(), lines.role.tolist(), lines.reporter.tolist(), strict=True))
    for owner, edge in zip(owners, lines.edge_ms.tolist(), strict=True):
        sets[owner].add(edge)
    common: dict[int, set[float]] = {}
    for owner, edges in sets.items():
        if float("inf") in edges:
            common[owner[0]] = common[owner[0]] & edges if owner[0] in common else set(edges)
    open_ended = np.array([float("inf") not in sets[owner] for owner in owners], dtype=np.bool_)
    return {demand: tuple(sorted(e for e in edges if np.isfinite(e))) for demand, edges in common.items()}, open_ended


def count_latencies(part: "Part", keep: "Bools", grid: "Grid") -> Table:
    """Count the increments of a part's samples, as far as they are kept, by bucket."""
    lines = part.lines
    line = lines.line[part.at]
    edges, open_ended = find_edges(lines)
    refused = [part.owners(grid, keep & open_ended[line])]
    groups: dict[Edges, list[int]] = defaultdict(list)
    for number, own in edges.items():
        groups[own].append(number)
    histograms: dict[int, Histogram] = {}
    for own, members in groups.items():
        column = _columns(lines, own)[line]
        among = keep & (column >= 0) & ~open_ended[line] & np.isin(lines.demand[line], members)
        counts, wrong = _table(part, np.flatnonzero(among), column, width=len(own) + 1, cells=grid.size)
        refused.append(grid.demand_of(wrong))
        histograms.update((number, Histogram(own, counts)) for number in members)
    return Table(histograms, np.concatenate(refused))


def _columns(lines: "Lines", edges: Edges) -> "Ints":
    """Tell each line's place among the edges; -1: it has none."""
    table = np.array([*edges, np.inf])
    place = np.minimum(np.searchsorted(table, lines.edge_ms), table.size - 1)
    return np.where(table[place] == lines.edge_ms, place, -1)


def _table(part: "Part", among: "Ints", column: "Ints", *, width: int, cells: int) -> tuple["Ints", "Ints"]:
    """Sum by cell, version and bucket; a reporter whose buckets do not add up is left out of a cell, for both versions.

    Returns the sums, and the cells that lack a reporter.
    """
    at = part.at[among]
    _, first, member = np.unique(part.share[among], return_index=True, return_inverse=True)
    cumulative = np.bincount(
        (member * 2 + part.lines.role[part.lines.line[at]]) * width + column[among],
        weights=part.steps.increment[at],
        minlength=first.size * 2 * width,
    )
    counts = np.diff(cumulative.reshape(-1, 2, width), axis=2, prepend=0.0)
    wrong = (counts < 0).any(axis=(1, 2))
    cell = part.cell[among][first]
    table = np.zeros((cells, 2, width))
    np.add.at(table, cell[~wrong], counts[~wrong])
    return table.astype(np.int64), cell[wrong]
