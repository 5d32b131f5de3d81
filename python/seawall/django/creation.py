"""Test databases: creating, cloning for parallel workers, keeping and removing them.

The hooks are Django's, although django-stubs does not declare those with an underscore.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import django
from django.db.backends.base.creation import BaseDatabaseCreation
from django.db.backends.sqlite3 import creation

import seawall

from .options import Options


class DatabaseCreation(creation.DatabaseCreation):
    """Test databases are files, on the embedded coordinator. Those in memory are stock SQLite's.

    A test database is TEST["NAME"], or lies beside NAME with `test_` before its name. For engines that pytest-django
    does not know it makes TEST["NAME"] of `test_`, NAME and the worker's suffix, as for a server's database. If NAME
    has folders, that is not a path. Then the test database lies beside NAME as well, and the suffix ends its stem.
    """

    # The test databases of this run. A run inside a test gets a database of its own, so that it
    # neither asks to delete the outer run's database nor deletes it.
    _live: ClassVar[set[str]] = set()

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        # NAME and OPTIONS before each test database that exists now. The first are the real database's.
        self._before: list[tuple[str | Path, dict[str, Any]]] = []

    def is_test_database(self) -> bool:
        """Whether the connection's database was made for this run of tests."""
        return self.connection.settings_dict["NAME"] in self._live

    def _get_test_db_name(self) -> str:
        settings_dict = self.connection.settings_dict
        name = self._before[0][0] if self._before else settings_dict["NAME"]
        given = settings_dict["TEST"]["NAME"]
        suffix = _derived_suffix(given, name)
        if suffix is None:
            test_name = str(given if self.is_in_memory_db(given) else path_of(given))
        elif not name or self.is_in_memory_db(name):
            test_name = ":memory:"
        else:
            path = path_of(name)
            test_name = str(path.with_name(f"test_{path.stem}{suffix}{path.suffix}"))
        if test_name == ":memory:":
            # One database for all of the alias's connections.
            return f"file:memorydb_{self.connection.alias}?mode=memory&cache=shared"
        while test_name in self._live:
            test_name = _with_suffix(test_name, "inner")
        return test_name

    def _create_test_db(self, verbosity: int, autoclobber: bool, keepdb: bool = False) -> str:
        name = self._get_test_db_name()
        if self.is_in_memory_db(name):
            return name
        if _exists(name) and not keepdb:
            if not autoclobber:
                self._ask_to_replace(name)
            self._remove(name, verbosity)
        self._live.add(name)
        # Tests need no service, whatever the real database's coordinator is.
        options = self.connection.settings_dict["OPTIONS"]
        self._before.append((self.connection.settings_dict["NAME"], options))
        self.connection.settings_dict["OPTIONS"] = {**options, "coordinator": "fs:"}
        return name

    def destroy_test_db(
        self,
        old_database_name: str | None = None,
        verbosity: int = 1,
        keepdb: bool = False,
        suffix: str | None = None,
    ) -> None:
        """Remove a test database, or a clone of it, and go back to the real one's settings."""
        name = self.connection.settings_dict["NAME"]
        super().destroy_test_db(old_database_name, verbosity, keepdb, suffix)
        if old_database_name is not None and self._before:
            self._live.discard(name)
            _, self.connection.settings_dict["OPTIONS"] = self._before.pop()

    def set_as_test_mirror(self, primary_settings_dict: dict[str, Any]) -> None:
        """Use the primary's test database, on its coordinator."""
        super().set_as_test_mirror(primary_settings_dict)
        coordinator = primary_settings_dict["OPTIONS"].get("coordinator")
        options = self.connection.settings_dict["OPTIONS"]
        self.connection.settings_dict["OPTIONS"] = {**options, "coordinator": coordinator}

    def _clone_test_db(self, suffix: str, verbosity: int, keepdb: bool = False) -> None:
        source = self.connection.settings_dict["NAME"]
        if self.is_in_memory_db(source):
            super()._clone_test_db(suffix, verbosity, keepdb)  # type: ignore[misc]
            return
        target = self.get_test_db_clone_settings(suffix)["NAME"]
        if _exists(target):
            if keepdb:
                return
            self._remove(target, verbosity)
        try:
            seawall.copy(source, target)
        except Exception as error:
            self.log(f"Got an error cloning the test database: {error}")
            sys.exit(2)

    def get_test_db_clone_settings(self, suffix: str) -> dict[str, Any]:
        """Give the settings of the clone for one worker: the same, with another NAME."""
        settings_dict = self.connection.settings_dict
        if self.is_in_memory_db(settings_dict["NAME"]):
            return dict(super().get_test_db_clone_settings(suffix))
        return {**settings_dict, "NAME": _with_suffix(settings_dict["NAME"], suffix)}

    def setup_worker_connection(self, _worker_id: int) -> None:
        """Turn to this worker's clone, in a forked or a spawned process."""
        if self.is_in_memory_db(self.connection.settings_dict["NAME"]):
            super().setup_worker_connection(_worker_id)
            return
        self._live.add(self.connection.settings_dict["NAME"])
        BaseDatabaseCreation.setup_worker_connection(self, _worker_id)
        self._live.add(self.connection.settings_dict["NAME"])
        spawned = multiprocessing.get_start_method() != "fork"
        # Since 6.0 Django's runner does this itself.
        if django.VERSION < (6, 0) and spawned and os.environ.get("RUNNING_DJANGOS_TEST_SUITE") == "true":
            self.mark_expected_failures_and_skips()

    def _destroy_test_db(self, test_database_name: str, verbosity: int) -> None:
        if test_database_name and not self.is_in_memory_db(test_database_name):
            self._forget(test_database_name)

    def _forget(self, name: str) -> None:
        if Path(name).is_symlink():
            # As stock Django does, because the link may lead to the real database.
            Path(name).unlink()
            return
        seawall.remove(name, coordinator=Options.of(self.connection.settings_dict).coordinator)

    def _ask_to_replace(self, name: str) -> None:
        try:
            answer = input(
                f"Type 'yes' if you would like to try deleting the test database '{name}', or 'no' to cancel: "
            )
        except EOFError:
            self.log(
                f"The test database '{name}' exists, and standard input is closed. Use --noinput "
                "to replace it, or --keepdb to use it again."
            )
            answer = "no"
        if answer != "yes":
            self.log("Tests cancelled.")
            sys.exit(1)

    def _remove(self, name: str, verbosity: int) -> None:
        if verbosity >= 1:
            shown = self._get_database_display_str(verbosity, name)  # type: ignore[attr-defined]
            self.log(f"Destroying old test database for alias {shown}...")
        try:
            self._forget(name)
        except Exception as error:
            self.log(f"Got an error deleting the old test database: {error}")
            sys.exit(2)


def path_of(name: str | Path) -> Path:
    """Find the file that a NAME means, which may be a URI."""
    text = os.fspath(name)
    return Path(unquote(urlsplit(text).path)) if text.startswith("file:") else Path(text)


def _derived_suffix(given: str | Path | None, name: str | Path) -> str | None:
    """Return what follows `test_` and NAME in a derived TEST["NAME"]; None for one that a user chose."""
    if not given:
        return ""
    derived, chosen = f"test_{name}", str(given)
    suffix = chosen.removeprefix(derived)
    return suffix if chosen.startswith(derived) and suffix[:1] in ("", "_") else None


def _with_suffix(name: str | Path, suffix: str) -> str:
    path = Path(name)
    return str(path.with_name(f"{path.stem}_{suffix}{path.suffix}"))


def _exists(name: str) -> bool:
    return os.path.lexists(name) or os.path.lexists(f"{name}-seawall")
