"""Django's own test runner, which also writes down what every test came to."""

import json
import os
from pathlib import Path
from typing import Any

from django.test.runner import DiscoverRunner


class Runner(DiscoverRunner):
    """Leaves the outcome as JSON where `suite.py` asked for it."""

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
