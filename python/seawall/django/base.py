"""The database wrapper: Django's own for SQLite, on connections that Seawall opens."""

from __future__ import annotations

import os
import sys
from copy import deepcopy
from itertools import chain
from typing import Any, TextIO
from urllib.parse import parse_qs, urlsplit

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.sqlite3 import base
from django.db.models.signals import pre_migrate
from django.dispatch import receiver
from django.utils.asyncio import async_unsafe

import seawall

from . import requests
from .checks import check_settings, unknown_options, wrong_values
from .client import DatabaseClient
from .creation import DatabaseCreation
from .features import DatabaseFeatures
from .options import OWN, Options, Sources, sources


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's connection to a Seawall database, or to a stock one in memory."""

    display_name = "Seawall (SQLite)"

    client_class = DatabaseClient
    creation_class = DatabaseCreation
    features_class = DatabaseFeatures

    _read: tuple[Sources, Options] | None = None
    """What the options were read from last, and the options."""

    def get_connection_params(self) -> dict[str, Any]:
        """Return the arguments for `sqlite3.connect()`. Seawall's own options go into the URI."""
        # A program may set the mode for one transaction before Django connects for it.
        set_from_outside = getattr(self, "transaction_mode", None) == "EXCLUSIVE"
        params: dict[str, Any] = super().get_connection_params()
        options = self._options()
        for name in OWN:
            params.pop(name, None)
        params["timeout"] = options.timeout
        self.exclusive_mode = options.exclusive_mode
        name = os.fspath(self.settings_dict["NAME"])
        if "transaction_mode" not in self.settings_dict["OPTIONS"] and not _is_read_only(name):
            # The transaction asks for the writer's lease first, so that it is not refused half way.
            self.transaction_mode = "IMMEDIATE"
        if set_from_outside:
            self.transaction_mode = "EXCLUSIVE"
        if self.is_in_memory_db():
            return params
        params["database"] = seawall.uri(
            name,
            coordinator=options.coordinator,
            freshness=options.freshness,
            lease=options.lease,
            lease_ahead=None if options.lease_ahead else False,
            # Clients of django-sqlite-efs lock it by this very name.
            legacy_names=[name, *options.legacy_names],
            page_cache=options.page_cache,
            request_age=options.request_age,
            upkeep=None if options.upkeep else False,
            timeout=options.timeout,
        )
        return {"factory": seawall.Connection, **params}

    def _options(self) -> Options:
        """Read and check the options, unless nothing has changed: Django connects for each request by default."""
        found = sources(self.settings_dict)
        if self._read is None or self._read[0] != found:
            for wrong in chain(wrong_values(self.settings_dict), unknown_options(self.settings_dict)):
                hint = f" {wrong.hint}" if wrong.hint else ""
                raise ImproperlyConfigured(f"settings.DATABASES[{self.alias!r}]: {wrong.msg}{hint}")
            self._read = deepcopy(found), Options.of(self.settings_dict)
        return self._read[1]

    @async_unsafe
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Open the database through Seawall; the rest is as in the stock backend."""
        seawall.register(self.Database)
        return super().get_new_connection(conn_params)

    def _set_autocommit(self, autocommit: bool) -> None:
        # Outside of atomic(), sqlite3 itself begins the transactions, in the mode that atomic() would use.
        with self.wrap_database_errors:
            self.connection.isolation_level = None if autocommit else self.transaction_mode or ""

    def _start_transaction_under_autocommit(self) -> None:
        mode = self.transaction_mode
        if mode == "EXCLUSIVE":
            # Workers that poll a queue set it. To Seawall it means the same as IMMEDIATE, because readers never wait.
            mode = self.exclusive_mode
        self.cursor().execute("BEGIN" if mode is None else f"BEGIN {mode}")

    def is_usable(self) -> bool:
        """Whether a transaction can read the database now."""
        if self.connection is None:
            return False
        try:
            self.connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        except self.Database.Error:
            return False
        return True

    def newest_version(self) -> int:
        """Return the number of the newest version."""
        with self.cursor() as cursor:
            # The query asks the coordinator. The PRAGMA reports what is known.
            cursor.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
            ((version,),) = cursor.execute("PRAGMA seawall_version").fetchall()
        return int(version)


def _is_read_only(name: str) -> bool:
    """Whether NAME is a URI that forbids writing, so that BEGIN IMMEDIATE would fail."""
    query = parse_qs(urlsplit(name).query) if name.startswith("file:") else {}
    return query.get("mode") == ["ro"] or "at" in query


@register
def check_databases(**kwargs: Any) -> list[CheckMessage]:
    """System check: the settings of each database that uses this backend."""
    messages = []
    for connection in connections.all():
        if isinstance(connection, DatabaseWrapper):
            for message in check_settings(connection.settings_dict):
                message.msg = f"settings.DATABASES[{connection.alias!r}]: {message.msg}"
                messages.append(message)
    return messages


@receiver(pre_migrate, dispatch_uid="seawall.say_version")
def say_version(sender: AppConfig, using: str, verbosity: int, **signal: Any) -> None:
    """`manage.py migrate` says which version the database has before it. It never fails because of that."""
    connection = connections[using]
    # The signal is sent for each app that has models.
    first = next(app for app in apps.get_app_configs() if app.models_module is not None)
    if sender is not first or verbosity < 1:
        return
    if not isinstance(connection, DatabaseWrapper) or connection.is_in_memory_db():
        return
    if connection.creation.is_test_database():  # type: ignore[attr-defined]  # of creation_class
        # A test database is never restored to an earlier version.
        return
    try:
        version = connection.newest_version()
    except Exception:
        # The migration itself will report what is wrong with the database.
        return
    stdout: TextIO = signal.get("stdout") or sys.stdout
    stdout.write(f"  before this: version {version} (database {using!r})\n")


requests.watch()
