"""A database, and the settings that the processes of a Django application have in common."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynamodb.fixtures import client

from .peer import Application

VOTE = "Choice.objects.filter(pk=1).update(votes=F('votes') + 1)"
VOTES = "list(Choice.objects.order_by('pk').values_list('votes', flat=True))"
BEGIN = "block = transaction.atomic(); block.__enter__()"
END = "block.__exit__(None, None, None)"


@dataclass
class Site:
    """One database of one application."""

    engine: str
    name: Path
    endpoint: str = ""
    table: str = ""
    """The table in DynamoDB that has the order, or the lock. Empty: the file system has the order."""
    processes: list[Application] = field(default_factory=list)

    def start(
        self,
        *,
        timeout: float = 3,
        expiration: float = 30,
        attempts: int = 10,
        machine: Path | None = None,
        from_environment: bool = False,
        **options: Any,
    ) -> Application:
        """Start a process; its settings have the names that django-sqlite-efs gave them.

        `machine` is the folder that it works in: a relative NAME is the same on all machines, each with its own mount.
        """
        settings: dict[str, Any] = {"SQLITE_LOCK_EXPIRATION": expiration, "SQLITE_LOCK_MAX_ATTEMPTS": attempts}
        if self.table:
            settings["SQLITE_LOCK_DYNAMODB_TABLE"] = self.table
        else:
            options["coordinator"] = "fs:"
        entry = {"ENGINE": self.engine, "NAME": str(self.name), "OPTIONS": {"timeout": timeout, **options}}
        environment = {"AWS_ENDPOINT_URL_DYNAMODB": self.endpoint}
        if from_environment:
            environment |= {name: str(value) for name, value in settings.items()}
            settings = {}
        process = Application({"DATABASES": {"default": entry}, **settings}, environment, machine)
        self.processes.append(process)
        return process

    def item(self, key: str | None = None) -> dict[str, Any] | None:
        """The item that is django-sqlite-efs's lock of this database, if there is one."""
        pk = {"pk": {"S": key or f"database#{self.name}"}}
        found = client(self.endpoint).get_item(TableName=self.table, Key=pk, ConsistentRead=True)
        return {name: next(iter(value.values())) for name, value in found["Item"].items()} if "Item" in found else None

    def votes_on_disk(self) -> list[int]:
        """The rows that stock SQLite reads."""
        connection = sqlite3.connect(self.name)
        try:
            return [votes for (votes,) in connection.execute("SELECT votes FROM polls_choice ORDER BY id")]
        finally:
            connection.close()

    def close(self) -> None:
        """End its processes."""
        for process in self.processes:
            process.kill()
