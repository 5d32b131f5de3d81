"""`manage.py dbshell`: the sqlite3 shell, with the database opened through Seawall."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.management import CommandError
from django.db.backends.sqlite3 import client

import seawall

from .creation import DatabaseCreation
from .options import Options


class DatabaseClient(client.DatabaseClient):
    """Loads Seawall into the shell before that opens NAME, because the plain file is only a copy."""

    @classmethod
    def settings_to_cmd_args_env(  # type: ignore[override]
        cls, settings_dict: dict[str, Any], parameters: Iterable[str]
    ) -> tuple[list[str], dict[str, str] | None]:
        """Build the shell's command line. Arguments after `--` go to the shell unchanged."""
        name = settings_dict["NAME"]
        if DatabaseCreation.is_in_memory_db(name):
            return super().settings_to_cmd_args_env(settings_dict, parameters)
        options = Options.of(settings_dict)
        uri = seawall.uri(
            name,
            coordinator=options.coordinator,
            lease=options.lease,
            page_cache=options.page_cache,
        )
        try:
            extension = seawall.extension_path()
        except FileNotFoundError as error:
            # To Django this error would mean a missing shell.
            raise CommandError(str(error)) from None
        commands = [
            f".load {_quoted(extension)}",
            f".open {_quoted(uri)}",
            f".timeout {round(options.timeout * 1000)}",
        ]
        # The shell opens its argument before it runs a command, so the argument is not the file.
        args = [cls.executable_name, ":memory:"]
        for command in commands:
            args += ["-cmd", command]
        return [*args, *parameters], None


def _quoted(text: str) -> str:
    """One argument of a dot-command."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
