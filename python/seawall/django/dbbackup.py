"""A connector for django-dbbackup: a backup is one version, whole, as a plain SQLite file.

DBBACKUP_CONNECTOR_MAPPING = {"seawall.django": "seawall.django.dbbackup.SeawallConnector"}
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import IO, Any

import dbbackup.settings
from dbbackup.db.base import BaseDBConnector

import seawall
from seawall import errors

from .creation import path_of
from .options import Options


class SeawallConnector(BaseDBConnector):
    """Copies the newest version out, and restores a backup as a new version."""

    extension = "sqlite3"

    def _create_dump(self) -> IO[bytes]:
        settings = self.connection.settings_dict
        with _folder() as folder:
            copy = Path(folder, "copy.sqlite3")
            seawall.copy(path_of(settings["NAME"]), copy, coordinator=Options.of(settings).coordinator)
            # The open file can still be read after its name is gone.
            return copy.open("rb")

    def _restore_dump(self, dump: Any) -> None:
        """Write what `dump` holds in one transaction. Other processes continue, and see it when it is committed."""
        self.connection.ensure_connection()
        with _folder() as folder:
            plain = Path(folder, "dump.sqlite3")
            dump.seek(0)
            with plain.open("wb") as file:
                shutil.copyfileobj(dump, file)
            source = sqlite3.connect(f"{plain.as_uri()}?mode=ro", uri=True)
            try:
                with self.connection.wrap_database_errors:
                    self._write(source)
            finally:
                source.close()

    def _write(self, source: sqlite3.Connection) -> None:
        try:
            # A file that is not a database is refused here.
            source.execute("SELECT 1 FROM sqlite_master").fetchall()
            source.backup(self.connection.connection)
        except sqlite3.Error as error:
            errors.explain(error)
            raise


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir=dbbackup.settings.TMP_DIR)
