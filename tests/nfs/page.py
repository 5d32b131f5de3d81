"""What was measured on real NFS, as a page of the manual."""

from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nfs.lab import CLIENT_LEASE, ONE_WAY_MS, ROOT

KINDS = {"coordinator": "C", "reads": "R", "appends": "W", "metadata": "M"}
"""Seawall's counts, and the design's letters for them."""
WIDTH = 120
"""The longest line, except in a table."""


def page(results: Mapping[str, Any], failed: Sequence[str], commit: str) -> str:
    """docs/benchmarks-nfs.md."""
    text = f"""# On real NFS

What `make nfs` printed, at commit `{commit}`: a Linux NFSv4.1 server (knfsd on ext4, delegations off) and three
clients of a Linux 6.1 kernel, each with its own network, mounts and caches, with the mount options that EFS
recommends, in a guest on one machine. One way through the network takes {ONE_WAY_MS} ms; the server may forget a client
after {CLIENT_LEASE} s. It is not EFS itself. Milliseconds are the guest's, where a system call costs 40 µs. The
numbers of calls are exact.

{f"**FAILED**: {', '.join(failed)}. Such a part has figures if it came to its end." if failed else "All parts passed."}

{sections(results)}"""
    return "\n\n".join(wrapped(block) for block in text.rstrip("\n").split("\n\n")) + "\n"


def wrapped(block: str) -> str:
    """A block of Markdown (a paragraph, a list, a heading or a table) with its lines wrapped."""
    if block.startswith(("#", "|")):
        return block
    items = block.split("\n") if block.startswith("- ") else [block]
    indent = "  " if block.startswith("- ") else ""
    fill = textwrap.TextWrapper(WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False).fill
    return "\n".join(map(fill, items))


def sections(results: Mapping[str, Any]) -> str:
    """The sections that there are results for."""
    return "\n".join(SECTIONS[part](results[part]) for part in SECTIONS if part in results)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def calls(results: Mapping[str, Any]) -> str:
    """The design's budget, and the calls of the client's kernel."""
    rows = []
    for row in results["rows"]:
        ours, stock = row["seawall"], row["stock"]
        times = f"{ours['ms']:.1f} / {stock['ms']:.1f}"
        rows.append([row["title"], row["budget"], counted(ours["counts"]), sent(ours), sent(stock), times])
    heads = ["", "budget", "Seawall counts", "calls of its client", "stock SQLite's calls", "ms, Seawall / stock"]
    return f"""## Calls

The design's budget ([design.md](design.md#appendix-a-the-budget)) in the calls that the client's kernel really sends
(`/proc/self/mountstats`), beside stock SQLite (`journal_mode=DELETE`) on the same mount, in the same run. Each row is
the median of several measurements. Where their numbers of calls differ, the least and the largest are in brackets.

{table(heads, rows)}
{notes(results["rows"])}"""


def notes(rows: Iterable[Mapping[str, Any]]) -> str:
    """Why the kernel sends more, or less, than the budget has."""
    return "".join(f"- *{row['title']}*: {row['note']}\n" for row in rows if row["note"])


def counted(counts: Mapping[str, int]) -> str:
    """Seawall's own counts in the design's letters."""
    return " + ".join(f"{counts[what]} {letter}" for what, letter in KINDS.items() if counts[what]) or "0"


def sent(measured: Mapping[str, Any]) -> str:
    """Calls of each kind."""
    kinds = sorted(measured["calls"].items(), key=lambda kind: (-kind[1], kind[0]))
    least, most = measured["least"], measured["most"]
    spread = f" ({least} … {most})" if least != most else ""
    listed = ", ".join(f"{number} {name}" for name, number in kinds)
    return f"**{sum(measured['calls'].values())}**{spread}{': ' if listed else ''}{listed}"


def fresh(results: Mapping[str, Any]) -> str:
    """Whether commits are visible at once."""
    return f"""## Visible at once

One client commits in bursts, without delay on the network; another reads with `freshness="transaction"`. A check is a
read that began after the acknowledgement of a commit that the reader had not seen yet. {results["checks"]:,} checks, in
{results["reads"]:,} reads of {results["commits"]:,} commits, of which {results["in_one_tick"]:,} were made in the same
tick of the server's clock as the one before: **{results["misses"]} misses**.
"""


def early(results: Mapping[str, Any]) -> str:
    """Whether commits are visible at once while the server is slow to find them."""
    seawall, alone = results["seawall"], results["alone"]
    return f"""## Shown before it is found

The server shows a folder as changed a moment before it finds the new name in it. A reader that looks in between gets
the answer that there is no such name, and its kernel remembers that until the folder changes again. Therefore Seawall
trusts that a name is missing only if the folder has not changed since the newest name was made. Otherwise it quiesces
the folder and looks again ([decision 19](decisions/0019-missing-is-believed-in-a-folder-at-rest.md)). Here the host and
the server's journal are kept busy for {results["seconds"]:.0f} s, so that names take longer. Seawall, in several
processes of one client:
{seawall["checks"]:,} checks of {results["commits"]:,} commits, in {seawall["looks"]:,} reads:
**{seawall.get("misses", 0)} misses**; it quiesced the folder {results["set_back"]:,} times. On another client at the
same time, with a forced look and look-ups and nothing more: {alone["checks"]:,} checks, in {alone["looks"]:,} looks:
{alone.get("misses", 0)} misses.
"""


def lost(results: Mapping[str, Any]) -> str:
    """One publication whose request or reply is lost."""
    rows = [[row["case"], row["answer"], row["symlinks"], f"{row['after']:.1f}"] for row in results["rows"]]
    heads = ["", "the writer's answer", "SYMLINKs answered", "s after the network healed, or it woke"]
    return f"""## A lost publication

Exactly the SYMLINK of one commit, or its reply, is lost, step by step. Each time the writer's answer was true, on both
clients, and its next write went through.

{table(heads, rows)}"""


def adoption(results: Mapping[str, Any]) -> str:
    """Clients that open a name at once."""
    rows = [
        ["an existing file" if row["adopts"] else "no file", row["clients"], row["rounds"]] for row in results["rows"]
    ]
    return f"""## Opened at once for the first time

Clients open one name at the same moment, or up to 0.3 s apart, and write. Every third time they have all looked for it
before, so that their kernels remember that it was missing. Each time this made one database, with one `id` and all
rows: those that were there before, and those of each client. The longest opening, with its writes, took
{results["longest"]:.1f} s.

{table(["", "clients", "rounds"], rows)}"""


def turns(results: Mapping[str, Any]) -> str:
    """Many writers of one database."""
    rows = [
        [
            row["title"],
            f"{row['rate']:.0f}",
            f"{row['alone']:.1f}",
            f"{row['p50']:.0f} / {row['p99']:.0f} ({row['p99'] / row['fair']:.1f} fair shares)",
            f"{row['longest']:.0f} ({row['longest'] / row['fair']:.1f} fair shares)",
            f"{row['each'][0]} to {row['each'][1]}",
        ]
        for row in results["rows"]
    ]
    heads = ["", "votes a second", "a vote alone, ms", "p50 / p99, ms", "longest wait, ms", "votes of each process"]
    broken = sum(row["broken"] for row in results["rows"])
    counted = (
        f"**{broken} votes failed, or were lost.**" if broken else "Each vote that was acknowledged was counted once."
    )
    return f"""## Turns

{results["writers"]} processes on {results["clients"]} clients vote for one choice as fast as they can, for
{results["seconds"]} s, in {results["rounds"]} rounds. A fair share is a vote of each: their number times a vote of one
process that is alone. {counted} No process is to wait for longer than {results["longest_wait"]} fair shares.

{table(heads, rows)}"""


def bank(results: Mapping[str, Any]) -> str:
    """The bank, fault by fault."""
    rows = [
        [row["fault"], row["times"], row["acknowledged"], row["failed"], row["unknown"], f"{row['recovery']:.1f}"]
        for row in results["rows"]
    ]
    clients, done = len(results["closed"]), results["maintained"]
    title, maintained = f"The bank on {clients} clients", ""
    if done:
        title += ", under maintenance"
        maintained = f""" Beside the clerks, each client made a checkpoint and collected garbage every second, with a
history of 120 s: {done["checkpoints"]} checkpoints, {done["deleted"]} files deleted, {done["failed"]} runs failed."""
    heads = ["fault", "times", "acknowledged", "failed", "unknown", "all work again after, s"]
    return f"""## {title}

The bank of `tests/fire` (two clerks and an auditor on each client), for {results["seconds"]} s, with seed
{results["seed"]}.{maintained} A row counts the transfers during that fault and after it until each
clerk has had one acknowledged that it began after the fault; the last column is the longest time that this took.
Afterwards each client closed the books by itself: nothing that was acknowledged is lost, nothing that failed is there,
and every audit held. On client 1: {results["closed"][0]}.

{table(heads, rows)}"""


SECTIONS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "calls": calls,
    "fresh": fresh,
    "early": early,
    "lost": lost,
    "adoption": adoption,
    "turns": turns,
    "bank2": bank,
    "bank3": bank,
    "maintained": bank,
}


def revision() -> str:
    """The commit that was measured."""
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return git.stdout.strip()
