"""`python -m seawall ext-path`: where the loadable extension is."""

from __future__ import annotations

import argparse
import sys

from . import extension_path


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m seawall")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ext-path", help="print the path of the loadable extension, for the sqlite3 shell's .load")
    parser.parse_args()
    try:
        print(extension_path())
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


sys.exit(main())
