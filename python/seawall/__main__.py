"""The command line: `seawall`, or `python -m seawall`. Its commands are in Rust, except `ext-path`."""

from __future__ import annotations

import signal
import sys
import threading

from . import _native, extension_path


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Return its exit code (docs/command-line.md has the table)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["ext-path"]:
        return _print_extension_path()
    line = ["seawall", *arguments]
    if threading.current_thread() is not threading.main_thread():
        return _native.command_line(line)
    # Rust code does not check Python's signal flags, so Ctrl-C must end it as it ends any program.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return _native.command_line(line)
    finally:
        signal.signal(signal.SIGINT, before)


def _print_extension_path() -> int:
    """Print where the loadable extension is, for the sqlite3 shell's `.load`."""
    try:
        print(extension_path())
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
