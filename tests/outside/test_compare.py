"""The comparison itself: it must find what differs, and excuse only what its reason covers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from outside.compare import ByDesign, Ended, Engine, Result, Results, Suite, judge, read

PASSED, SKIPPED = Result("passed"), Result("skipped", "no such thing here")
LOCKED = Result("failed", "OperationalError: database is locked")


def suite(*by_design: ByDesign) -> Suite:
    def run(engine: Engine, folder: Path) -> Results:
        raise AssertionError("nothing is run here")

    return Suite("one", "a suite", lambda: None, run, by_design)


@pytest.mark.parametrize(
    ("stock", "seawall", "differs"),
    [
        (PASSED, PASSED, False),
        (PASSED, LOCKED, True),
        (PASSED, SKIPPED, True),
        (PASSED, None, True),
        (SKIPPED, LOCKED, True),
        (None, LOCKED, True),
        (LOCKED, LOCKED, False),
        (LOCKED, PASSED, False),
        (SKIPPED, None, False),
        (Result("passed", answer="1 row"), Result("passed", answer="2 rows"), True),
        (Result("passed", answer="1 row"), Result("passed", answer="1 row"), False),
    ],
)
def test_what_differs(stock: Result | None, seawall: Result | None, differs: bool) -> None:
    results = [{"t": result} if result else {} for result in (stock, seawall)]
    verdict = judge(suite(), *results)
    assert verdict.unexpected == (["t"] if differs else [])
    assert verdict.clean != differs


def test_only_what_the_reason_covers_is_excused() -> None:
    readers = ByDesign("readers do not wait", ["a.*"], shows="is locked")
    stock = dict.fromkeys(["a.1", "a.2", "b"], PASSED)
    verdict = judge(suite(readers), stock, {"a.1": LOCKED, "a.2": Result("failed", "disk I/O error"), "b": LOCKED})
    assert verdict.by_design == {"readers do not wait": ["a.1"]}
    assert verdict.unexpected == ["a.2", "b"]
    assert not verdict.clean


def test_a_reason_that_is_no_longer_needed_is_a_failure() -> None:
    readers = ByDesign("readers do not wait", ["a", "b"], shows="is locked")
    verdict = judge(suite(readers), {"a": PASSED, "b": PASSED}, {"a": LOCKED, "b": PASSED})
    assert verdict.stale == ["b"]
    assert not verdict.clean


def test_a_crash_is_the_failure_of_the_test_that_ran(tmp_path: Path) -> None:
    recorded, log = tmp_path / "recorded", tmp_path / "log"
    log.write_text("Segmentation fault\n")
    with pytest.raises(Ended, match="Segmentation fault"):
        read(recorded, -11, log)
    lines = [{"begun": "a"}, {"test": "a", "status": "passed", "detail": ""}, {"begun": "b"}]
    recorded.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    results = read(recorded, -11, log)
    assert results["a"] == PASSED
    assert results["b"].status == "failed"
    assert "-11" in results["b"].detail
