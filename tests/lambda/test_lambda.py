"""The deployed handler as Lambda runs it: new processes, API Gateway's events, frozen between them; DynamoDB Local."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import seawall
from browser import Browser, Page
from dynamodb import faults
from dynamodb.fixtures import make_table
from dynamodb.proxy import Exchange, Fault, Proxy
from instance import FunctionError, Instance
from polls_site import CREDENTIALS, Site

QUESTION = 1
LEASE = 1.0

Report = Callable[[str], None]


@pytest.fixture(scope="module")
def site(dynamodb: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The polls, migrated and filled, and a proxy that lets pass what the template's role may do."""
    folder = tmp_path_factory.mktemp("lambda")
    with Proxy(dynamodb, latency=0.004) as proxy:
        site = Site(folder, proxy, make_table(dynamodb))
        with site.role():
            site.manage("migrate")
            site.manage("loaddata", "questions")
            yield site


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    """Print a figure, whatever pytest captures."""

    def report(text: str) -> None:
        with capsys.disabled():
            print(f"\nlambda: {text}", end="")

    return report


def requests(site: Site) -> dict[str, int]:
    return dict(site.proxy.requests())


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


def test_cold_start(site: Site, report: Report) -> None:
    site.proxy.reset()
    with site.instance() as instance:
        assert requests(site) == {}, "importing sends no request"
        page = Browser().get(instance, "/polls/")
        cold = instance.seconds
        assert page.status == 200
        assert "What do you think?" in page.text
        assert requests(site) == {"GetItem": 1}
        warm = []
        for _ in range(5):
            Browser().get(instance, "/polls/")
            warm.append(instance.seconds)
        assert requests(site) == {"GetItem": 6}, "one each"
    report(f"cold start {ms(instance.init_seconds)}, then the first page {ms(cold)}, the others {ms(min(warm))}")


def test_a_vote(site: Site, report: Report) -> None:
    browser = Browser()
    with site.instance() as instance:
        choice = browser.open(instance, QUESTION)[0]
        before = browser.votes(instance, QUESTION)
        browser.vote(instance, QUESTION, choice)
        first = instance.seconds
        time.sleep(0.1)  # a writer that comes back at once keeps the lease, and then has to give it back
        site.proxy.reset()
        page = browser.vote(instance, QUESTION, choice)
        assert (page.status, page.location) == (302, f"/polls/{QUESTION}/results/")
        # The lease is asked for when the request begins, and the answer says what is newest. The view's first query may
        # have asked for that already.
        assert requests(site) in ({"UpdateItem": 2}, {"GetItem": 1, "UpdateItem": 2}), "the lease, the swap"
        assert browser.votes(instance, QUESTION) == before + 2
        report(f"the first vote {ms(first)}, the second {ms(instance.seconds)}")


def test_a_lease_that_a_request_did_not_use_goes_back_before_the_instance_sleeps(site: Site, report: Report) -> None:
    browser = Browser()
    with site.instance() as instance, site.instance() as other:
        choice = browser.open(instance, QUESTION)[0]
        browser.vote(instance, QUESTION, choice)
        time.sleep(0.1)
        site.proxy.reset()
        assert browser.vote(instance, QUESTION, choice=10**9).status == 200, "the form, once more"
        assert requests(site)["UpdateItem"] == 2, "the lease, and its return"
        took = instance.seconds
        assert browser.vote(other, QUESTION, choice).status == 302
        report(f"a wrong vote {ms(took)}, another instance's vote right after it {ms(other.seconds)}")
        assert other.seconds < 1, "less than a lease"


@pytest.mark.parametrize("frozen", [0.0, 3.0, 7.0])
@pytest.mark.parametrize("fate", ["black_hole", "close_connections", "cut_connections"])
@pytest.mark.parametrize("what", ["read", "vote"])
def test_after_a_freeze(site: Site, report: Report, what: str, fate: str, frozen: float) -> None:
    browser = Browser()
    with site.instance() as instance:
        choice = browser.open(instance, QUESTION)[0]
        before = browser.votes(instance, QUESTION)
        assert getattr(site.proxy, fate)() >= 1
        time.sleep(frozen)
        site.proxy.reset()
        if what == "read":
            assert browser.get(instance, "/polls/").status == 200
            assert requests(site) == {"GetItem": 1}
        else:
            assert browser.vote(instance, QUESTION, choice).status == 302
            assert requests(site) == {"GetItem": 1, "UpdateItem": 2}
        took = instance.seconds
        assert browser.votes(instance, QUESTION) == before + (what == "vote")
        report(f"{what} after {frozen:g} s frozen, {fate}: {ms(took)}")
        assert took < 2


def test_two_instances_vote_at_once(site: Site, report: Report) -> None:
    each = 20

    def visit(instance: Instance) -> list[float]:
        browser = Browser()
        choice = browser.open(instance, QUESTION)[0]
        times = []
        for _ in range(each):
            assert browser.vote(instance, QUESTION, choice).status == 302
            times.append(instance.seconds)
        return times

    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        instances = [stack.enter_context(site.instance()) for _ in range(2)]
        before = Browser().votes(instances[0], QUESTION)
        site.proxy.reset()
        times = sorted(time for times in pool.map(visit, instances) for time in times)
        assert Browser().votes(instances[0], QUESTION) == before + 2 * each
    report(f"two instances, {each} votes each: median {ms(times[each])}, longest {ms(times[-1])}; {requests(site)}")


def test_frozen_the_moment_it_answered(site: Site, report: Report) -> None:
    """A frozen instance does nothing in the background, so no other instance may have to wait for that."""
    browser = Browser()
    with site.instance() as first, site.instance() as second:
        choice = browser.open(first, QUESTION)[0]
        browser.open(second, QUESTION)
        times = []
        for _ in range(10):
            browser.vote(first, QUESTION, choice)
            browser.vote(second, QUESTION, choice)
            times.append(second.seconds)
    report(f"a vote right after another instance's: longest {ms(max(times))}")
    assert max(times) < 1, "less than a lease"


def test_frozen_after_a_command_of_many_commits(site: Site, report: Report) -> None:
    """A process that writes again and again keeps the lease in between; not over the end of its event."""
    browser = Browser()
    save_all = """
from polls.models import Choice
for choice in Choice.objects.filter(question_id=2):
    choice.votes += 1
    choice.save()
"""
    with site.instance("Manage") as manage, site.instance() as other:
        choice = browser.open(other, QUESTION)[0]
        site.proxy.reset()
        manage.invoke({"command": ["shell", "--command", save_all]})
        text = f"a command of several commits {ms(manage.seconds)}, {requests(site)}"
        browser.vote(other, QUESTION, choice)
    report(f"{text}; another instance's vote right after it {ms(other.seconds)}")
    assert other.seconds < 1, "less than a lease"


@pytest.mark.parametrize(
    ("where", "statuses"),
    [
        # Nothing was done yet: it may ask for the lease once more, or go on and be refused.
        ("before it knew that it has the lease", {302, 500}),
        ("before its commit arrived", {500}),
        ("after its commit arrived", {302}),
    ],
)
def test_frozen_in_the_middle_of_a_vote(site: Site, report: Report, where: str, statuses: set[int]) -> None:
    """Past its lease, while another one votes. Its answer about its own vote is true, and no other is touched."""
    browser = Browser()
    other_has_voted = threading.Event()

    async def freeze(exchange: Exchange) -> None:
        if where != "before its commit arrived":
            answer = await exchange.deliver()
        sleeper.process.send_signal(signal.SIGSTOP)
        while not other_has_voted.is_set():
            await asyncio.sleep(0.01)
        if where == "before its commit arrived":
            answer = await exchange.deliver()
        await exchange.answer(answer)

    with site.instance(SQLITE_LOCK_EXPIRATION=str(LEASE)) as sleeper, site.instance() as other:
        choice = browser.open(sleeper, QUESTION)[0]
        before = browser.votes(other, QUESTION)
        updates = itertools.count()
        the_one = 0 if "lease" in where else 1
        with (
            ThreadPoolExecutor() as pool,
            site.proxy.fault(freeze, "UpdateItem", when=lambda _: next(updates) == the_one) as freezing,
        ):
            asleep = pool.submit(browser.vote, sleeper, QUESTION, choice)
            wait_until(lambda: freezing.hits == 1)
            assert browser.vote(other, QUESTION, choice).status == 302
            waited = other.seconds
            other_has_voted.set()
            time.sleep(LEASE)
            sleeper.thaw()
            status = asleep.result(timeout=20).status
        assert status in statuses
        if status == 500:
            assert "Nothing was written: try again" in sleeper.log.read_text()
        assert browser.votes(other, QUESTION) == before + 1 + (status == 302)
        assert browser.vote(sleeper, QUESTION, choice).status == 302, "the instance goes on"
        assert browser.votes(other, QUESTION) == before + 2 + (status == 302)
    report(f"frozen {where}: answer {status}; the other's vote took {ms(waited)}, with a lease of {LEASE:g} s")


def test_frozen_inside_a_transaction(site: Site, report: Report) -> None:
    """Past its lease, between a statement and COMMIT."""
    browser = Browser()
    vote_and_sleep = f"""
import os, signal
from django.db import transaction
from django.db.models import F
from polls.models import Choice

with transaction.atomic():
    Choice.objects.filter(question={QUESTION}).update(votes=F("votes") + 100)
    print("asleep")
    os.kill(os.getpid(), signal.SIGSTOP)
"""
    with site.instance("Manage", SQLITE_LOCK_EXPIRATION=str(LEASE)) as sleeper, site.instance() as other:
        choice = browser.open(other, QUESTION)[0]
        before = browser.votes(other, QUESTION)
        with ThreadPoolExecutor() as pool:
            asleep = pool.submit(sleeper.invoke, {"command": ["shell", "--command", vote_and_sleep]})
            wait_until(lambda: "asleep" in sleeper.log.read_text())
            assert browser.vote(other, QUESTION, choice).status == 302
            waited = other.seconds
            sleeper.thaw()
            with pytest.raises(FunctionError, match="Nothing was written: try again"):
                asleep.result(timeout=20)
        assert browser.votes(other, QUESTION) == before + 1
    report(f"frozen inside a transaction: the other's vote took {ms(waited)}, with a lease of {LEASE:g} s")


def test_credentials_rotate(site: Site) -> None:
    """Lambda puts new ones into the environment; those from before are refused from some time on."""
    browser = Browser()
    with site.instance() as instance:
        browser.get(instance, "/polls/")
        with site.proxy.fault(faults.token_expired, times=None, when=lambda exchange: exchange.access_key == "first"):
            event = browser.event("GET", "/polls/")
            answer = instance.invoke(event, AWS_ACCESS_KEY_ID="second", AWS_SESSION_TOKEN="other")
            assert answer["statusCode"] == 200
            choice = browser.open(instance, QUESTION)[0]
            assert browser.vote(instance, QUESTION, choice).status == 302
        assert {exchange.access_key for exchange in site.proxy.log()[-3:]} == {"second"}


def test_credentials_of_a_container(site: Site) -> None:
    """Where they come from an address instead, as on Fargate, they are fetched again before they expire."""
    given = itertools.count()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            expires = datetime.now(UTC) + timedelta(seconds=5)
            credentials = {
                "AccessKeyId": f"key{next(given)}",
                "SecretAccessKey": "secret",
                "Token": self.headers["Authorization"],
                "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(credentials).encode())

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        container = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{server.server_port}/",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "a token",
        }
        with site.instance(**dict.fromkeys(CREDENTIALS, ""), **container) as instance:
            site.proxy.reset()
            assert Browser().get(instance, "/polls/").status == 200
            time.sleep(6)
            assert Browser().get(instance, "/polls/").status == 200
        server.shutdown()
    first, second = (exchange.access_key for exchange in site.proxy.log())
    assert first.startswith("key")
    assert second.startswith("key")
    assert second != first
    assert {exchange.request.header("x-amz-security-token") for exchange in site.proxy.log()} == {"a token"}


@pytest.mark.parametrize("fault", [faults.throttled, faults.server_error, faults.cut, faults.lost])
def test_a_fault_is_ridden_out(site: Site, report: Report, fault: Fault) -> None:
    browser = Browser()
    with site.instance() as instance:
        choice = browser.open(instance, QUESTION)[0]
        before = browser.votes(instance, QUESTION)
        with site.proxy.fault(fault, "UpdateItem", times=1) as injection:
            page: Page = browser.vote(instance, QUESTION, choice)
            assert injection.hits == 1
        assert page.status == 302
        report(f"a vote with {fault.__name__!r}: {ms(instance.seconds)}")
        assert browser.votes(instance, QUESTION) == before + 1


def test_maintenance_does_its_work_and_logs_it(site: Site) -> None:
    policy = seawall.policy(site.database, coordinator=site.coordinator)
    with site.instance("Maintain") as instance, site.instance() as web:
        browser = Browser()
        choice = browser.open(web, QUESTION)[0]

        def maintain() -> tuple[dict[str, Any] | None, dict[str, Any], dict[str, Any]]:
            instance.invoke({"source": "aws.events"})
            lines = [json.loads(line) for line in instance.log.read_text().splitlines()[-3:]]
            assert [list(line) for line in lines] == [["checkpoint"], ["collect"], ["status"]]
            return lines[0]["checkpoint"], lines[1]["collect"], lines[2]["status"]

        checkpoint, collected, status = maintain()
        assert checkpoint is None, "none is due"
        assert collected["deleted"] == {"files": 0, "bytes": 0}
        assert status["name"] == str(site.database)
        assert status["version"] > 0
        assert status["trouble"] is None

        seawall.set_policy(site.database, replace(policy, checkpoint_at=1 << 20), coordinator=site.coordinator)
        grow = "from django.db import connection as c; k = c.cursor(); k.execute('CREATE TABLE ballast (x)'); "
        grow += "k.execute('INSERT INTO ballast VALUES (randomblob(4000000))')"
        site.manage("shell", "--command", grow)
        browser.vote(web, QUESTION, choice)
        before = browser.votes(web, QUESTION)
        checkpoint, _, status = maintain()
        assert checkpoint is not None
        assert status["base_version"] == checkpoint["version"]
        assert status["log_bytes"] < 1 << 20
        assert browser.votes(web, QUESTION) == before
    seawall.set_policy(site.database, policy, coordinator=site.coordinator)


def test_files_of_the_example_are_deployed(site: Site) -> None:
    with site.instance() as instance:
        style = Browser().get(instance, "/static/polls/style.css")
    assert style.status == 200
    assert not list(Path(site.folder, "app").rglob("__pycache__/*tests*"))
