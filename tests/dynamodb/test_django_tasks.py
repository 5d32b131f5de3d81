"""A worker of `django.tasks` with its queue in the database: what it costs while there is nothing to do.

django-tasks-db looks each second whether there is a task, in a transaction that it begins EXCLUSIVE.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
import pytest

from dynamodb.conftest import Shared

SETTINGS = """
DATABASES = {{"default": {{"ENGINE": "seawall.django", "NAME": {name!r}, "OPTIONS": {options!r}}}}}
INSTALLED_APPS = [*{apps!r}, "django_tasks_db", "jobs"]
TASKS = {{"default": {{"BACKEND": "django_tasks_db.DatabaseBackend"}}}}
SECRET_KEY = "tests"
USE_TZ = True
"""

JOBS = """
import os
from pathlib import Path

try:
    from django.tasks import task
except ImportError:
    from django_tasks import task


@task()
def append(line):
    with open(os.environ["JOBS_DONE"], "a") as done:
        print(line, file=done)
"""

ENQUEUE = """
import sys

import django

django.setup()
from jobs.tasks import append

for line in sys.argv[1:]:
    append.enqueue(line)
"""


class Project:
    """A Django project whose tasks are in the database."""

    def __init__(self, shared: Shared, folder: Path, options: dict[str, Any]) -> None:
        options = {"coordinator": shared.url, "timeout": 10, **options}
        apps = ["django_tasks"] if django.VERSION < (6, 0) else []
        (folder / "tasked.py").write_text(SETTINGS.format(name=str(shared.name), options=options, apps=apps))
        (folder / "jobs").mkdir()
        (folder / "jobs" / "__init__.py").write_text("")
        (folder / "jobs" / "tasks.py").write_text(JOBS)
        self.done = folder / "done"
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tasked",
            "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
            "JOBS_DONE": str(self.done),
        }

    def run(self, *command: str) -> None:
        """Run Python with these arguments in the project."""
        ended = subprocess.run([sys.executable, *command], env=self.environment, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr

    def enqueue(self, *lines: str) -> None:
        """Ask for a task for each line."""
        self.run("-c", ENQUEUE, *lines)

    def worker(self, interval: float) -> subprocess.Popen[str]:
        """Start a worker with this interval. It begins after a random delay, unless the option here turns that off."""
        command = [sys.executable, "-m", "django", "db_worker", f"--interval={interval}", "--no-startup-delay"]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def finished(self) -> list[str]:
        """What the tasks that were carried out have written."""
        return sorted(self.done.read_text().split()) if self.done.exists() else []


@contextmanager
def working(workers: list[subprocess.Popen[str]], project: Project, tasks: int) -> Iterator[None]:
    """Wait until so many tasks are done; end the workers in the end."""
    try:
        deadline = time.monotonic() + 60
        while len(project.finished()) < tasks:
            assert time.monotonic() < deadline and all(worker.poll() is None for worker in workers)
            time.sleep(0.05)
        yield
    finally:
        for worker in workers:
            worker.terminate()
            output, _ = worker.communicate()
            print(output)


@pytest.fixture(autouse=True)
def installed() -> None:
    pytest.importorskip("django_tasks_db", reason="SKIPPED: django-tasks-db is not installed")


DEFERRED = {"exclusive_mode": "DEFERRED"}


@pytest.mark.parametrize(("options", "idle"), [({}, {"UpdateItem": 2}), (DEFERRED, {"GetItem": 1})])
def test_what_an_idle_worker_costs(
    shared: Shared, tmp_path: Path, options: dict[str, Any], idle: dict[str, int]
) -> None:
    project = Project(shared, tmp_path, options)
    project.run("-m", "django", "migrate", "--verbosity=0")
    project.enqueue("one", "two")
    with working([project.worker(interval=0.5)], project, tasks=2):
        time.sleep(1)
        counted = shared.requests(lambda: time.sleep(5))
    assert project.finished() == ["one", "two"]
    assert set(counted) == set(idle), counted
    ((operation, each),) = idle.items()
    assert 7 <= counted[operation] // each <= 11, counted


def test_workers_share_a_queue(shared: Shared, tmp_path: Path) -> None:
    """A worker that finds, when it claims a task, that another was faster, is refused, and looks again."""
    project = Project(shared, tmp_path, DEFERRED)
    project.run("-m", "django", "migrate", "--verbosity=0")
    tasks = [f"task{number:02}" for number in range(20)]
    project.enqueue(*tasks)
    with working([project.worker(interval=0.05) for _ in range(3)], project, tasks=20):
        time.sleep(1)
    assert project.finished() == tasks
