"""In a suite's own process: writes down what every test came to, line by line, so that a crash hides only itself.

For pytest it is a plugin (`-p outside.record`), for unittest a result class.
"""

from __future__ import annotations

import json
import os
import unittest
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

_Error = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
_PLACE = "OUTSIDE_RECORDED"
"""The variable that says where to write."""


def environment(recorded: Path) -> dict[str, str]:
    """The parameters of a suite's process."""
    return {_PLACE: str(recorded)}


def write(**record: str) -> None:
    """Add a line."""
    with Path(os.environ[_PLACE]).open("a") as file:
        file.write(json.dumps(record) + "\n")


class _Test:
    """The test that runs. Its first failure is the one that counts."""

    def __init__(self, name: str) -> None:
        self.name, self.status, self.detail = name, "passed", ""
        write(begun=name)

    def came_to(self, status: str, detail: str) -> None:
        if self.status != "failed":
            self.status, self.detail = status, detail

    def ended(self) -> None:
        write(test=self.name, status=self.status, detail=self.detail)


class Recorder(unittest.TextTestResult):
    """Records unittest's results."""

    before: Callable[[], None]
    _test: _Test | None = None

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        self.before()
        self._test = _Test(test.id())

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().stopTest(test)
        if self._test:
            self._test.ended()
        self._test = None

    def addError(self, test: unittest.TestCase, err: _Error) -> None:  # noqa: N802
        super().addError(test, err)
        self._came_to(test, "failed", self.errors[-1][1])

    def addFailure(self, test: unittest.TestCase, err: _Error) -> None:  # noqa: N802
        super().addFailure(test, err)
        self._came_to(test, "failed", self.failures[-1][1])

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: _Error | None) -> None:  # noqa: N802
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._came_to(test, "failed", f"{subtest}: {err[1]}")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        super().addSkip(test, reason)
        self._came_to(test, "skipped", reason)

    def addExpectedFailure(self, test: unittest.TestCase, err: _Error) -> None:  # noqa: N802
        super().addExpectedFailure(test, err)
        self._came_to(test, "passed", "fails, as expected")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().addUnexpectedSuccess(test)
        self._came_to(test, "failed", "passes, which was not expected")

    def _came_to(self, test: unittest.TestCase, status: str, detail: str) -> None:
        if self._test:
            self._test.came_to(status, detail)
        else:  # A class or module could not be set up.
            write(test=str(test.id()), status=status, detail=detail)


def run_unittests(tests: unittest.TestSuite, before: Callable[[], None] = lambda: None) -> None:
    """Run `tests`, recording; and `before` before each."""
    Recorder.before = staticmethod(before)
    unittest.TextTestRunner(resultclass=Recorder, verbosity=2).run(tests)  # type: ignore[arg-type]


_running: dict[str, _Test] = {}


def pytest_runtest_logstart(nodeid: str) -> None:
    _running[nodeid] = _Test(nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        _running[report.nodeid].came_to("failed", str(report.longrepr))
    elif report.skipped:
        reason: Any = report.longrepr
        _running[report.nodeid].came_to("skipped", str(reason[-1] if isinstance(reason, tuple) else reason))


def pytest_runtest_logfinish(nodeid: str) -> None:
    _running.pop(nodeid).ended()


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        write(test=report.nodeid, status="failed", detail=str(report.longrepr))
