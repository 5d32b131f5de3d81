"""`manage.py seawall doctor`: the command line, for a database of the settings."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, connections

from ....__main__ import main
from ...options import Options


class Command(BaseCommand):
    """Runs a command of `seawall` with the path and the coordinator of a configured database."""

    help = "Tell what is wrong with a database's place and its coordinator, and what to do about it."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say what can be said."""
        parser.add_argument("command", choices=["doctor"])
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help="the database's alias in the settings")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run it; its exit code is that of manage.py."""
        settings = connections[options["database"]].settings_dict
        if settings["ENGINE"] != "seawall.django":
            raise CommandError(
                f"the database {options['database']!r} is not Seawall's: its ENGINE is {settings['ENGINE']}"
            )
        coordinator = Options.of(settings).coordinator
        arguments = [options["command"], os.fspath(settings["NAME"]), "--coordinator", coordinator]
        if code := main([*arguments, *(["--json"] if options["json"] else [])]):
            sys.exit(code)
