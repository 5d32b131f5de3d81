"""`manage.py seawall COMMAND`: the command line, for a database of the settings."""

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

COMMANDS = (
    "doctor",
    "status",
    "checkpoint",
    "gc",
    "policy",
    "pin",
    "pins",
    "unpin",
    "verify",
    "recover",
    "adopt",
    "move",
    "detach",
    "restore",
    "snapshot",
)
"""The commands that are given a database."""

_SWITCHES = (
    "--json",
    "--dry-run",
    "--if-due",
    "--yes",
    "--take-over-home",
    "--refresh",
    "--new-id",
    "--deep",
    "--measure",
)
_VALUES = {
    "--history": "DURATION",
    "--history-bytes": "SIZE|none",
    "--checkpoint-at": "SIZE",
    "--for": "DURATION",
    "--max-duration": "DURATION",
    "--at": "VERSION|TIME",
    "--part": "N/T",
    "--commit": "ID",
    "--from": "FILE",
    "--to": "URL",
}


class Command(BaseCommand):
    """Runs a command of `seawall` with the path and the coordinator of a configured database."""

    help = (
        "Run a command of `seawall` for a configured database. `seawall COMMAND --help` says what each command takes."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments. Which of them a command takes, the command line itself says."""
        parser.add_argument("command", choices=COMMANDS)
        parser.add_argument("pin", nargs="?", help="the pin's name, for pin and unpin")
        parser.add_argument(
            "--database", default=DEFAULT_DB_ALIAS, choices=tuple(connections), help="its alias in the settings"
        )
        for flag in _SWITCHES:
            parser.add_argument(flag, action="store_true", dest=flag)
        for flag, metavar in _VALUES.items():
            parser.add_argument(flag, metavar=metavar, dest=flag)

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
        flags = [flag for flag in _SWITCHES if options.get(flag)]
        flags += [f"{flag}={options[flag]}" for flag in _VALUES if options.get(flag) is not None]
        # After the dashes a name may begin with one.
        names = [os.fspath(path_of(settings["NAME"])), *([options["pin"]] if options["pin"] else [])]
        if code := main([options["command"], "--coordinator", coordinator, *flags, "--", *names]):
            sys.exit(code)
