"""The tests of this folder run on each coordinator."""

from __future__ import annotations

import pytest
from dynamodb.fixtures import make_table


@pytest.fixture(params=["fs", "dynamodb"])
def coordinator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A coordinator's URL; the test's processes find it in the environment."""
    url = "fs:"
    if request.param == "dynamodb":
        endpoint = request.getfixturevalue("dynamodb")
        url = f"dynamodb://{make_table(endpoint)}?endpoint={endpoint}"
    monkeypatch.setenv("SEAWALL_COORDINATOR", url)
    return url
