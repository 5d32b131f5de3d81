"""What was measured: rows of several rounds, their medians, their spread, and ratios that are taken round by round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

OURS, STOCK = "Seawall", "stock SQLite"


class Named(Protocol):
    """Who is measured."""

    @property
    def name(self) -> str:
        """As the tables have it."""


P = TypeVar("P", bound=Named)


@dataclass
class Row:
    """One workload, measured side by side."""

    title: str
    unit: str
    goal: float | None = None
    """How many times as good as its peer it is to be."""
    less_is_better: bool = False
    notes: dict[str, str] = field(default_factory=dict)
    """More about a peer's figure: operations, most often."""
    values: dict[str, list[float]] = field(default_factory=dict)
    cost: str = ""
    """What the time goes to."""
    broken: list[str] = field(default_factory=list)
    """What Seawall promised and did not keep."""
    beside: str = STOCK
    """The peer that Seawall is compared with."""

    def add(self, peer: Named, value: float) -> None:
        """Take the figure of one round."""
        self.values.setdefault(peer.name, []).append(value)

    def median(self, peer: Named) -> float:
        """The peer's figure."""
        return statistics.median(self.values[peer.name])

    def ratios(self) -> list[float]:
        """How many times as good Seawall was, in each round."""
        pairs = zip(self.values[OURS], self.values[self.beside], strict=True)
        return [theirs / mine if self.less_is_better else mine / theirs for mine, theirs in pairs]


def rounds(row: Row, peers: Sequence[P], times: int, measure: Callable[[P], float]) -> Row:
    """Measure the peers in turn, so that whatever else this machine does meets all of them; each goes first in turn."""
    for number in range(times):
        first = number % len(peers)
        for peer in [*peers[first:], *peers[:first]]:
            row.add(peer, measure(peer))
    return row


def spread(values: Sequence[float], shown: Callable[[float], str]) -> str:
    """The median, and the least and the most."""
    return f"{shown(statistics.median(values))} ({shown(min(values))} … {shown(max(values))})"


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def times(ratio: float) -> str:
    """A ratio."""
    return f"{ratio:.2f} \u00d7"
