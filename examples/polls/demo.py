"""The polls, served by several processes from one SQLite database, with visitors voting at once.

    python examples/polls/demo.py [--once] [--port PORT] [--database FILE] [--coordinator URL]

It makes the database, or goes on from the one that is there; counts the votes that were
acknowledged to visitors; and goes on serving till Ctrl-C. With --once it ends after the report, with an
error if a vote was lost or a request failed.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import django
import seawall
from django.core.management import call_command
from visitors import Address, Tally, Visitor, let_visitors_in

HERE = Path(__file__).resolve().parent
LOGIN = "demo"
PORT = 8000


def main() -> int:
    """Serve, let visitors in, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--once", action="store_true", help="end after the report")
    parser.add_argument("--port", type=int, help=f"{PORT}, or any other that is free")
    parser.add_argument("--database", type=Path, default=HERE / "db.sqlite3", metavar="FILE")
    parser.add_argument("--coordinator", default="fs:", metavar="URL", help="fs: or dynamodb://TABLE?region=REGION")
    parser.add_argument("--workers", type=int, default=4, help="processes that serve")
    parser.add_argument("--visitors", type=int, default=8, help="clients at once")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long they stay")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, _exit)

    prepare(args.database.absolute(), args.coordinator)
    with serving(args.port, args.workers) as address:
        print(
            f"{args.workers} processes serve one SQLite database; "
            f"{args.visitors} clients vote and read for {args.seconds:g} seconds ...",
            flush=True,
        )
        before = votes()
        tally = let_visitors_in(address, args.visitors, args.seconds, before)
        lost = report(tally, counted=sum(votes().values()) - sum(before.values()))
        print_status(args.database, args.coordinator)
        if not args.once:
            wait_for_the_end(address)
    return 1 if lost or tally.failures or tally.stale else 0


def prepare(database: Path, coordinator: str) -> None:
    """Bring the database up to date, and put in what is missing: questions, the admin's login."""
    database.parent.mkdir(parents=True, exist_ok=True)
    os.environ["POLLS_DATABASE"] = str(database)
    os.environ["SEAWALL_COORDINATOR"] = coordinator
    os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
    django.setup()
    call_command("migrate", verbosity=0)

    from django.contrib.auth.models import User
    from polls.models import Question

    if not Question.objects.exists():
        call_command("loaddata", "questions", verbosity=0)
    if not User.objects.filter(username=LOGIN).exists():
        User.objects.create_superuser(LOGIN, password=LOGIN)


def votes() -> dict[int, int]:
    """The votes of each question, as this process reads them from the database."""
    from django.db.models import Sum
    from polls.models import Question

    counted = Question.objects.annotate(votes=Sum("choice__votes", default=0))
    return dict(counted.values_list("pk", "votes"))


@contextmanager
def serving(port: int | None, workers: int) -> Iterator[Address]:
    """Gunicorn with so many worker processes, on this machine's own address only."""
    with listen(port) as listener:
        address: Address = listener.getsockname()
        command = [sys.executable, "-m", "gunicorn", "mysite.wsgi"]
        options = [
            f"--workers={workers}",
            "--threads=2",
            "--log-level=warning",
            "--no-control-socket",
        ]
        server = subprocess.Popen(
            [*command, *options, f"--bind=fd://{listener.fileno()}"],
            cwd=HERE,
            pass_fds=[listener.fileno()],
        )
    try:
        wait_until_it_answers(server, address)
        yield address
    finally:
        server.terminate()
        server.wait()


def listen(port: int | None) -> socket.socket:
    """The socket that all workers share: made here, so that the port is taken before they start."""
    if port is None:
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", PORT), backlog=128)
    return socket.create_server(("127.0.0.1", port or 0), backlog=128)


def wait_until_it_answers(server: subprocess.Popen[bytes], address: Address) -> None:
    """Return when the first page comes; SystemExit if the server ends instead, or none comes."""
    end = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < end:
        try:
            Visitor(address, Tally()).get("/polls/")
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit("The server did not come up; what it said stands above.")


def report(tally: Tally, counted: int) -> int:
    """Print what the visitors met, and return how many of their votes are missing."""
    lost = tally.acknowledged - counted
    print(
        f"""
  votes acknowledged {tally.acknowledged:8,}
  votes counted      {counted:8,}
  lost               {lost:8,}
  failed requests    {len(tally.failures):8,}
  stale pages        {len(tally.stale):8,}

  reads   {latencies(tally.reads)}
  writes  {latencies(tally.writes)}
"""
    )
    for text in [*tally.failures[:5], *tally.stale[:5]]:
        print(f"  {text}")
    return lost


def latencies(seconds: list[float]) -> str:
    """The number, median and 99th percentile."""
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    middle, slow = (1000 * ordered[len(ordered) * part // 100] for part in (50, 99))
    return f"{len(ordered):8,}   p50 {middle:6.1f} ms   p99 {slow:6.1f} ms"


def print_status(database: Path, coordinator: str) -> None:
    """What `seawall.status` says about the database."""
    print("  seawall.status")
    for name, value in dataclasses.asdict(seawall.status(database, coordinator=coordinator)).items():
        print(f"    {name:20} {value}")
    print(flush=True)


def wait_for_the_end(address: Address) -> None:
    """Go on serving till Ctrl-C."""
    host, port = address
    print(f"  the polls   http://{host}:{port}/polls/")
    print(f"  the admin   http://{host}:{port}/admin/   (login {LOGIN}, password {LOGIN})")
    print("  Ctrl-C ends it; the next run goes on from this database.", flush=True)
    with suppress(KeyboardInterrupt):
        signal.pause()
    print(flush=True)


def _exit(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(128 + signal.SIGINT)
