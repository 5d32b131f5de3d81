"""A database on DynamoDB, with a proxy between that counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import seawall

from dynamodb.fixtures import client, make_table
from dynamodb.proxy import Proxy


@dataclass
class Shared:
    """A database, and how to reach it."""

    name: Path
    table: str
    endpoint: str
    proxy: Proxy
    opened: list[seawall.Connection] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The coordinator's URL, by way of the proxy."""
        return f"dynamodb://{self.table}?endpoint={self.proxy.endpoint}"

    def connect(self, **kwargs: Any) -> seawall.Connection:
        """A connection in autocommit mode."""
        given = {"isolation_level": None, "timeout": 5.0, **kwargs}
        self.opened.append(seawall.connect(self.name, coordinator=self.url, **given))
        return self.opened[-1]

    def requests(self, work: Callable[[], object]) -> dict[str, int]:
        """The requests that `work` makes, by operation, counted at the proxy."""
        self.proxy.reset()
        work()
        return dict(self.proxy.requests())

    def items(self) -> list[dict[str, Any]]:
        """The table's items, as boto3 has them."""
        return list(client(self.endpoint).scan(TableName=self.table)["Items"])

    def head(self) -> dict[str, Any]:
        """The database's item."""
        (item,) = (item for item in self.items() if item["pk"]["S"].startswith("seawall#"))
        return item


@pytest.fixture
def shared(dynamodb: str, tmp_path: Path) -> Iterator[Shared]:
    """A database that does not exist yet."""
    with Proxy(dynamodb) as proxy:
        shared = Shared(tmp_path / "db.sqlite3", make_table(dynamodb), dynamodb, proxy)
        yield shared
        for connection in shared.opened:
            connection.close()
