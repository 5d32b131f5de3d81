"""Many writers of one database: how fair their turns are, and what that costs.

    python bench/turns.py [fs|dynamodb|threads ...] [--writers 8] [--seconds 6] [--rounds 2] [--beside FOLDER]

Processes on two machines vote for one choice as fast as they can: on the design's costs for EFS (`slowfs`), ordered by
the file system or by Amazon's DynamoDB Local 4 ms away, with kept connections and with a new one for each vote; and
threads of one process, on a local disk. A *vote* is a SELECT and an UPDATE in one transaction. The *fair share* of a
writer's time is one vote of each: writers x the median of a vote without others.

With `--beside FOLDER` (the `python` folder of another build) both builds are measured in turn, in the same run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tests"))
import dynamodb.local as local_dynamodb  # noqa: E402
from dynamodb.fixtures import make_table  # noqa: E402
from dynamodb.proxy import Proxy  # noqa: E402
from figures import number  # noqa: E402
from slowfs import SlowFolder, machines  # noqa: E402
from voters import Voter  # noqa: E402

LATENCY = 0.004


@dataclass(frozen=True)
class Place:
    """Where the writers meet."""

    folders: list[Path]
    url: str
    operations: Callable[[], float]


@dataclass
class Votes:
    """What became of one round."""

    times: list[float]
    each: list[int]
    longest: float
    errors: int
    lost: int
    operations: float
    seconds: float

    @property
    def rate(self) -> float:
        """Votes per second."""
        return len(self.times) / self.seconds

    def shown(self, fair: float) -> str:
        """In words."""
        times = sorted(self.times)
        p50, p99 = times[len(times) // 2], times[min(len(times) * 99 // 100, len(times) - 1)]
        return (
            f"{self.rate:6.1f} votes/s; p50 {p50:6.1f}, p99 {p99:6.1f} ms = {p99 / fair:5.2f} x fair ({fair:.0f} ms);"
            f" longest {self.longest:.2f} s; each {min(self.each)} to {max(self.each)};"
            f" {number(self.operations / len(times))} operations a vote; {self.errors} errors, {self.lost} lost"
        )


def vote(module: Path, place: Place, name: str, writers: int, seconds: float, *, new: bool, threads: bool) -> Votes:
    """One round."""
    settings = {"coordinator": place.url, "new": new, "seconds": seconds}
    voters = []
    for n in range(1 if threads else writers):
        path = str(place.folders[n % len(place.folders)] / name)
        voters.append(Voter(module, {**settings, "path": path, "threads": writers if threads else 1}))
    voters[0].ask("votes")
    had, before = voters[0].answer(), place.operations()
    for voter in voters:
        voter.ask("vote")
    results = [one for voter in voters for one in voter.answer()]
    operations = place.operations() - before
    voters[0].ask("votes")
    has = voters[0].answer()
    for voter in voters:
        voter.end()
    times = [taken for one in results for taken in one["times"]]
    return Votes(
        times=times,
        each=[len(one["times"]) for one in results],
        longest=max(one["longest"] for one in results),
        errors=sum(one["errors"] for one in results),
        lost=len(times) - (has - had),
        operations=operations,
        seconds=seconds,
    )


@contextmanager
def places(kinds: list[str]) -> Iterator[dict[str, Place]]:
    """The places of these kinds."""
    with ExitStack() as stack:
        build = HERE.parent / "build"
        build.mkdir(exist_ok=True)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=os.environ.get("SEAWALL_BENCH_DIR", build))))
        made = {}
        if {"fs", "dynamodb"} & set(kinds):
            (folder / "slow").mkdir()
            mounts: list[SlowFolder] = stack.enter_context(machines(folder / "slow", 2))
            folders = [mount.path for mount in mounts]
            calls = lambda: float(sum(mount.operations() for mount in mounts))  # noqa: E731
            made["fs"] = Place(folders, "fs:", calls)
        if "dynamodb" in kinds:
            server = stack.enter_context(local_dynamodb.DynamoDBLocal())
            os.environ.update(local_dynamodb.CREDENTIALS)
            proxy = stack.enter_context(Proxy(server.endpoint, latency=LATENCY))
            url = f"dynamodb://{make_table(server.endpoint)}?region=us-east-1&endpoint={proxy.endpoint}"
            requests = lambda: float(sum(proxy.requests().values()))  # noqa: E731
            made["dynamodb"] = Place(folders, url, requests)
        if "threads" in kinds:
            (folder / "local").mkdir()
            made["threads"] = Place([folder / "local"], "fs:", lambda: 0)
        yield {kind: made[kind] for kind in kinds}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", default=["fs", "dynamodb", "threads"])
    parser.add_argument("--writers", type=int, nargs="*", default=[8])
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--module", type=Path, default=HERE.parent / "python")
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--only", choices=["kept", "new"])
    options = parser.parse_args()
    builds = {"this": options.module, **({"other": options.beside} if options.beside else {})}
    with places(options.kinds) as all_places:
        for kind, place in all_places.items():
            for new in [False] if kind == "threads" else [False, True]:
                if options.only and new != (options.only == "new"):
                    continue
                measure(options, builds, kind, place, new)


def measure(options: argparse.Namespace, builds: dict[str, Path], kind: str, place: Place, new: bool) -> None:
    """One kind of place, and of connections."""
    threads = kind == "threads"
    alone: dict[str, list[float]] = {}
    rates: dict[tuple[str, int], list[float]] = {}
    what = "threads of one process" if threads else f"processes, {'new' if new else 'kept'} connections"
    for writers in sorted({1, *options.writers}):
        print(f"\n{kind}: {writers} {what}")
        for one_round in range(options.rounds):
            for build, module in builds.items() if one_round % 2 == 0 else reversed(builds.items()):
                name = f"{kind}-{build}.sqlite3"
                votes = vote(module, place, name, writers, options.seconds, new=new, threads=threads)
                if writers == 1:
                    alone.setdefault(build, []).append(statistics.median(votes.times))
                rates.setdefault((build, writers), []).append(votes.rate)
                fair = writers * statistics.median(alone[build])
                print(f"  {build:6} {votes.shown(fair)}", flush=True)
        if "other" in builds:
            pairs = zip(rates["this", writers], rates["other", writers], strict=True)
            print(f"  votes beside the other build: {', '.join(f'{a / b:.2f} x' for a, b in pairs)}", flush=True)


if __name__ == "__main__":
    main()
