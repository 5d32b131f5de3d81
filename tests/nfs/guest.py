"""The guest from within: its clients, their network, the server, and what their kernels count.

All of this runs in the server's namespace; a process gets into a client's by `within(client)`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOUNT = Path("/mnt/efs")
"""Where each client has the file system, …"""
EXPORT = Path("/export")
"""… and where the server has it."""
CLIENTS = Path("/proc/fs/nfsd/clients")


def within(client: int) -> list[str]:
    """The command that runs another one on that client."""
    return ["nsenter", "-t", keeper(client), "-n", "-u", "-m"]


def command(client: int, module: str, *arguments: object) -> list[str]:
    """The command that runs a module of these tests on that client; 0: beside the server."""
    space = within(client) if client else []
    return [*space, sys.executable, "-m", f"nfs.{module}", *map(str, arguments)]


def keeper(client: int) -> str:
    """The process that keeps the client's namespaces."""
    return Path(f"/run/c{client}.pid").read_text().strip()


def on_server(path: Path) -> Path:
    """The same file, as the server sees it."""
    return EXPORT / path.relative_to(MOUNT)


def net(client: int, *what: object) -> None:
    """`delay MS` (one way), `loss PERCENT`, `cut`, `cutreply`, `rst` (the client reconnects), `heal`."""
    subprocess.run(["/lab/guest-net", str(client), *map(str, what)], check=True, stdout=subprocess.DEVNULL)


def drop(client: int, what: str, delay_ms: float) -> None:
    """The moment of `net(client, what)`, without delay: for `cutreply` what it is sent, for `cut` what it sends."""
    place = ["dev", f"v{client}"] if what == "cutreply" else ["dev", "eth0"]
    space = [] if what == "cutreply" else ["-n", f"c{client}"]
    netem = ["netem", "limit", "100000", "delay", f"{delay_ms}ms", "loss", "100%"]
    subprocess.run(["tc", *space, "qdisc", "replace", *place, "root", *netem], check=True)


def forget(client: int) -> None:
    """The server forgets the client: its sessions, opens, locks, and which requests it has already answered."""
    for known in CLIENTS.iterdir():
        if f"lab-client{client}" in (known / "info").read_text():
            (known / "ctl").write_text("expire\n")


def restart() -> None:
    """The server goes down and comes up, with all clients forgotten; connections are reset: no reply arrives late."""
    orphans = Path("/proc/sys/net/ipv4/tcp_max_orphans")
    before = orphans.read_text()
    orphans.write_text("0")
    subprocess.run(["rpc.nfsd", "0"], check=True)
    time.sleep(1)
    orphans.write_text(before)
    subprocess.run(["rpc.nfsd", "-N", "3", "-V", "4.1", "32"], check=True)


def _mount(process: str) -> list[str]:
    """The lines of mountstats about the file system."""
    _, _, ours = Path(f"/proc/{process}/mountstats").read_text().partition(f" mounted on {MOUNT} with ")
    return ours.partition("\ndevice ")[0].splitlines()


def calls(process: str = "self") -> Counter[str]:
    """How many calls of each kind that process's client has had answered by the server."""
    lines = _mount(process)
    operations = lines[lines.index("\tper-op statistics") + 1 :]
    counts = (line.split(":") for line in operations if ":" in line)
    return Counter({name.strip(): int(numbers.split()[0]) for name, numbers in counts})


def connects(client: int) -> int:
    """How often the client has connected to the server."""
    transport = next(line for line in _mount(keeper(client)) if line.startswith("\txprt:\ttcp"))
    return int(transport.split()[4])


class Worker:
    """A Python program on a client, `python3 -m nfs.NAME`, that answers each line of JSON with one."""

    def __init__(self, client: int, module: str, *arguments: object) -> None:
        process = command(client, module, *arguments)
        self.process = subprocess.Popen(process, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, question: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "a worker died"
        return json.loads(line)

    def do(self, question: Any) -> Any:
        self.ask(question)
        return self.answer()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


def serve(answer: Callable[[Any], Any]) -> None:
    """What a worker does."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def commits(name: Path) -> Path:
    """Where the server has the names of a database's versions."""
    return on_server(name.with_name(name.name + "-seawall")) / "commits"


def newest(name: Path) -> int:
    """The newest version of a database, on the server."""
    return max(int(version.name) for version in commits(name).iterdir())


def folder(name: str) -> Path:
    """A new folder on the file system; the server makes it."""
    path = MOUNT / f"{name}-{os.getpid()}"
    on_server(path).mkdir()
    return path


def wait_for(what: str, so: Callable[[], bool], seconds: float) -> float:
    """Wait until the condition holds. Return how long that took."""
    began = time.monotonic()
    while not so():
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.01)
    return time.monotonic() - began
