"""Django's own test runner, which also writes down what every test came to."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import TestCase, TestSuite

from django.test.runner import DiscoverRunner

# Tests that spoil others, with any engine that keeps its test databases in files.
LEFT_OUT = {
    # Where no test before it has left a connection open, it closes the one that Django goes on
    # using, and all tests after it fail. (tests/django has its like.)
    "backends.sqlite.tests.ThreadSharing.test_database_sharing_in_threads",
}


class Runner(DiscoverRunner):
    """Leaves the outcome as JSON where `suite.py` asked for it."""

    def test_suite(  # type: ignore[override]
        self, tests: Iterable[TestCase] = ()
    ) -> TestSuite:
        """Collect the tests that are run."""
        return TestSuite(test for test in tests if test.id() not in LEFT_OUT)

    def suite_result(self, suite: Any, result: Any, **kwargs: Any) -> int:
        """Write the outcome down, then count the failures as Django does."""
        failed = {test.id(): text for test, text in result.failures + result.errors}
        for test in result.unexpectedSuccesses:
            failed[test.id()] = "unexpected success"
        outcome = {
            "tests": result.testsRun,
            "failed": failed,
            "skipped": {test.id(): reason for test, reason in result.skipped},
            "expected_failures": [test.id() for test, _ in result.expectedFailures],
        }
        Path(os.environ["SUITE_OUTCOME"]).write_text(json.dumps(outcome, indent=1))
        failures: int = super().suite_result(suite, result, **kwargs)
        return failures
