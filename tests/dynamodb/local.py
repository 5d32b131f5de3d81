"""Amazon's own DynamoDB Local, fetched by Maven, on 127.0.0.1, for as long as it is needed.

    python tests/dynamodb/local.py [--] COMMAND ...     # runs the command beside it; its exit code is the command's
    python tests/dynamodb/local.py                      # runs it till Ctrl-C

The command finds its endpoint in SEAWALL_DYNAMODB_ENDPOINT, and made-up credentials in AWS_…. Without Java or Maven the
command runs without that variable, and its tests print that they are skipped.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

HERE = Path(__file__).resolve().parent
JARS = HERE.parents[1] / "build" / "dynamodb-local"
ENDPOINT = "SEAWALL_DYNAMODB_ENDPOINT"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "seawall",
    "AWS_SECRET_ACCESS_KEY": "seawall",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",  # boto3 knows only this one
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""DynamoDB Local accepts any credentials. Without them an SDK would look for some on the network."""
JAVA = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m", "-Djava.net.preferIPv4Stack=true"]
"""The options that start quickest and leave the two cores of a small machine to the tests."""


class Absent(Exception):
    """DynamoDB Local is not available. The text says why."""


class DynamoDBLocal:
    """A running server with an empty database in memory. It ends with this process, however that ends."""

    endpoint: str

    def __enter__(self) -> Self:
        jars = fetch()
        command = [*JAVA, f"-Djava.library.path={jars}", "-cp", f"{jars}/*", str(HERE / "Loopback.java")]
        with tempfile.TemporaryFile("w+") as errors:
            self._server = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
            )
            port = _file(self._server.stdout).readline().strip()
            if not port.isdigit():
                self._server.kill()
                self._server.wait()
                errors.seek(0)
                raise Absent(f"DynamoDB Local did not start: {port} {errors.read()[-2000:]}")
        self.endpoint = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):
            _file(self._server.stdin).close()
        self._server.wait()
        _file(self._server.stdout).close()


def fetch() -> Path:
    """The folder with its jars and native libraries. Maven fills it if it is empty or of another version."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise Absent(f"DynamoDB Local needs {program}, which is not installed (a JDK from 17 on, and Maven)")
    wanted = (HERE / "pom.xml").read_text()
    stamp = JARS / "fetched.pom"
    JARS.mkdir(parents=True, exist_ok=True)
    with (JARS / "lock").open("w") as lock:  # several test runs may begin at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            for old in JARS.glob("*.jar"):
                old.unlink()
            command = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies"]
            done = subprocess.run([*command, f"-DoutputDirectory={JARS}"], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Absent(f"Maven could not fetch DynamoDB Local: {(done.stdout + done.stderr)[-2000:]}")
            stamp.write_text(wanted)
    return JARS


def main(command: list[str]) -> int:
    """Run a command beside the server, or the server alone."""
    if command[:1] == ["--"]:
        del command[0]
    try:
        with DynamoDBLocal() as server:
            if not command:
                print(server.endpoint, flush=True)
                with suppress(KeyboardInterrupt):
                    signal.pause()
                return 0
            return _run(command, {**os.environ, **CREDENTIALS, ENDPOINT: server.endpoint})
    except Absent as absent:
        print(f"\n*** NO DYNAMODB LOCAL: {absent}\n*** Tests that need it are skipped.\n", file=sys.stderr, flush=True)
        return _run(command, dict(os.environ)) if command else 1


def _run(command: list[str], environment: dict[str, str]) -> int:
    """Run the command. Return its exit code, or the shell's number for a signal. The command handles Ctrl-C."""
    process = subprocess.Popen(command, env=environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
    code = process.wait()
    return code if code >= 0 else 128 - code


def _file(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
