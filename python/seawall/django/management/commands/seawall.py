"""`manage.py seawall doctor`: the command line, for a database of the settings."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, connections

from ....__main__ import main
from ...creation import path_of
from ...options import Options


class Command(BaseCommand):
    """Runs a command of `seawall` with the path and the coordinator of a configured database."""

    help = "Say what is wrong with a database's place and its coordinator, and what to do about it."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("command", choices=["doctor"])
        parser.add_argument(
            "--database", default=DEFAULT_DB_ALIAS, choices=tuple(connections), help="its alias in the settings"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command. manage.py exits with its exit code."""
        connection = connections[options["database"]]
        settings = connection.settings_dict
        if settings["ENGINE"] != "seawall.django":
            raise CommandError(
                f"the database {options['database']!r} is not Seawall's: its ENGINE is {settings['ENGINE']}"
            )
        if connection.is_in_memory_db():  # type: ignore[attr-defined]
            raise CommandError(f"the database {options['database']!r} is in memory, so it is stock SQLite's")
        try:
            coordinator = Options.of(settings).coordinator
        except ImproperlyConfigured as error:
            raise CommandError(f"the database {options['database']!r}: {error}") from None
        flags = ["--coordinator", coordinator, *(["--json"] if options["json"] else [])]
        # After the dashes a name may begin with one.
        if code := main([options["command"], *flags, "--", os.fspath(path_of(settings["NAME"]))]):
            sys.exit(code)
