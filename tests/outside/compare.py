"""What a suite came to on each engine, and what Seawall may do differently."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

Engine = Literal["stock", "seawall"]
ENGINES: tuple[Engine, ...] = ("stock", "seawall")
Status = Literal["passed", "failed", "skipped"]
THE_ENGINE = "(the engine)"
"""Not a test of the suite, but ours: whether it ran on the engine that was meant."""


@dataclass(frozen=True)
class Result:
    """What one test came to.

    `note` is shown for every test, in a suite of a few large ones. `answer` must be the same on both engines.
    """

    status: Status
    detail: str = ""
    note: str = ""
    answer: str = ""


Results = Mapping[str, Result]


@dataclass(frozen=True)
class ByDesign:
    """Why Seawall fails where stock SQLite does not."""

    reason: str
    tests: Sequence[str]
    """Their names, or patterns for names."""
    shows: str
    """What the failure says: a test that fails in another way is not excused."""

    def covers(self, test: str, result: Result | None) -> bool:
        """Whether this is why `test` came to `result`."""
        is_one = any(fnmatchcase(test, pattern) for pattern in self.tests)
        return is_one and result is not None and self.shows in result.detail


@dataclass(frozen=True)
class Suite:
    """A suite: how it is brought, how it is run on an engine, and where Seawall differs from stock by design.

    `run` gets an empty folder for the databases.
    """

    name: str
    of: str
    prepare: Callable[[], None]
    run: Callable[[Engine, Path], Results]
    by_design: Sequence[ByDesign] = ()


@dataclass(frozen=True)
class Verdict:
    """Where Seawall did not do what stock SQLite did."""

    unexpected: list[str]
    """Tests that stock passes, or skips as well, and Seawall does not; with no reason why they should."""
    by_design: dict[str, list[str]]
    """By reason."""
    stale: list[str]
    """Patterns of the list that excuse nothing any more."""

    @property
    def clean(self) -> bool:
        return not self.unexpected and not self.stale


def judge(suite: Suite, stock: Results, seawall: Results) -> Verdict:
    """Compare test by test. One that Seawall skips, or never came to, counts like one that fails."""
    worse = [test for test in sorted(stock.keys() | seawall.keys()) if _worse(stock.get(test), seawall.get(test))]
    excused, stale = dict[str, list[str]](), []
    for known in suite.by_design:
        covered = [test for test in worse if known.covers(test, seawall.get(test))]
        excused[known.reason] = excused.get(known.reason, []) + covered
        stale += [pattern for pattern in known.tests if not any(fnmatchcase(test, pattern) for test in covered)]
    explained = {test for tests in excused.values() for test in tests}
    return Verdict([test for test in worse if test not in explained], excused, stale)


def _worse(stock: Result | None, seawall: Result | None) -> bool:
    if seawall is None:
        return stock is not None and stock.status == "passed"
    if seawall.status == "failed":
        return stock is None or stock.status != "failed"
    if stock is None or stock.status != "passed":
        return False
    return seawall.status == "skipped" or seawall.answer != stock.answer


def counts(results: Results) -> str:
    """The figures of one engine's run."""
    by_status = Counter(result.status for test, result in results.items() if test != THE_ENGINE)
    return ", ".join(f"{by_status[status]:,} {status}" for status in ("passed", "failed", "skipped"))


@dataclass(frozen=True)
class Run:
    """One suite, on both engines."""

    suite: Suite
    outcomes: Mapping[Engine, Results]
    seconds: Mapping[Engine, float]
    verdict: Verdict

    def row(self) -> str:
        """Its row in docs/compatibility.md."""
        by_design = sum(len(tests) for tests in self.verdict.by_design.values())
        figures = [counts(self.outcomes[engine]) for engine in ENGINES]
        return " | ".join([f"| {self.suite.of} (`make test-{self.suite.name}`)", *figures, f"{by_design or 'none'} |"])

    def __str__(self) -> str:
        return "\n".join([*self._table(), *self._by_design(), *self._differences()])

    def _table(self) -> list[str]:
        """One line for each engine; and one for each test where the tests have notes."""
        lines = [f"{self.suite.name}: {self.suite.of}"]
        lines += [f"  {engine:8} {counts(self.outcomes[engine])} in {self.seconds[engine]:.0f} s" for engine in ENGINES]
        for test in [test for test, result in self.outcomes["stock"].items() if result.note]:
            notes = [f"{engine} {results[test].note}" for engine, results in self.outcomes.items() if test in results]
            lines.append(f"    {test}: {'; '.join(notes)}")
        return lines

    def _by_design(self) -> list[str]:
        lines = []
        for reason, tests in self.verdict.by_design.items():
            lines.append(f"  by design ({len(tests)}): {reason}")
            lines += [f"      {test}" for test in tests]
        return lines + [
            f"  STALE: {pattern} is no longer by design; take it off the list" for pattern in self.verdict.stale
        ]

    def _differences(self) -> list[str]:
        stock, seawall = self.outcomes["stock"], self.outcomes["seawall"]
        both = [test for test in sorted(stock) if test in seawall and stock[test].status == "failed"]
        lines = [f"  fails with stock only: {test}" for test in both if seawall[test].status == "passed"]
        lines += [f"  fails with both: {test}" for test in both if seawall[test].status == "failed"]
        for test in self.verdict.unexpected:
            result = seawall.get(test)
            if result is None:
                lines.append(f"\nNOT REACHED WITH SEAWALL: {test}")
            else:
                answer = f"its answer is {result.answer}\n" if result.status == "passed" else ""
                lines.append(f"\n{result.status.upper()} WITH SEAWALL: {test}\n{answer}{result.detail}")
        return [
            *lines,
            f"  {len(self.verdict.unexpected)} of Seawall's tests differ from stock SQLite's without a reason",
        ]


class Ended(Exception):
    """A suite's process ended before it ran any test."""


def read(recorded: Path, ended: int, log: Path) -> Results:
    """The results that a process wrote line by line (`record.py`). The test in which it died has failed."""
    results, begun = dict[str, Result](), None
    for line in recorded.read_text().splitlines() if recorded.exists() else []:
        record = json.loads(line)
        if "begun" in record:
            begun = record["begun"]
        else:
            begun = None
            results[record["test"]] = Result(record["status"], record["detail"])
    if begun is not None:
        results[begun] = Result("failed", f"the process ended here, with exit code {ended} ({log})")
    elif not results:
        last = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-20:])
        raise Ended(f"no test ran; exit code {ended} ({log}):\n{last}")
    return results
