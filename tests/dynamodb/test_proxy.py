"""Each fault of the proxy does what it says, seen through boto3 and in the table behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import pytest

from dynamodb import faults
from dynamodb.fixtures import client
from dynamodb.proxy import Fault, Proxy

botocore = pytest.importorskip("botocore.exceptions", reason="SKIPPED: no boto3")


@dataclass
class Place:
    """A table, seen directly and through the proxy; each `add` there counts one item up."""

    proxy: Proxy
    table: str
    direct_endpoint: str

    def __post_init__(self) -> None:
        self.through = client(self.proxy.endpoint, timeout=1.0)
        self.direct = client(self.direct_endpoint)

    def add(self) -> None:
        self.through.update_item(
            TableName=self.table,
            Key={"pk": {"S": "counter"}},
            UpdateExpression="ADD n :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )

    def value(self) -> int:
        item = self.direct.get_item(TableName=self.table, Key={"pk": {"S": "counter"}}, ConsistentRead=True).get("Item")
        return int(item["n"]["N"]) if item else 0

    def read(self) -> None:
        self.through.get_item(TableName=self.table, Key={"pk": {"S": "counter"}})


@pytest.fixture
def place(dynamodb: str, table: str) -> Iterator[Place]:
    with Proxy(dynamodb) as proxy:
        yield Place(proxy, table, dynamodb)


def seconds(act: Callable[[], None]) -> float:
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


def wait_for(value: int, place: Place) -> None:
    end = time.monotonic() + 5
    while place.value() != value:
        assert time.monotonic() < end, f"{place.value()}, not {value}"
        time.sleep(0.02)


def test_everything_passes_and_is_counted(place: Place) -> None:
    for _ in range(3):
        place.add()
    place.read()
    assert place.value() == 3
    assert place.proxy.requests() == {"UpdateItem": 3, "GetItem": 1}
    count = place.proxy.counts()["UpdateItem"]
    assert count.delivered == 3
    assert count.bytes_in > 3 * 100
    assert count.bytes_out > 3 * 100
    log = place.proxy.log()
    assert [entry.operation for entry in log] == ["UpdateItem"] * 3 + ["GetItem"]
    assert {entry.connection.number for entry in log} == {1}, "one connection, kept alive"
    assert {entry.access_key for entry in log} == {"seawall"}
    assert {entry.status for entry in log} == {200}
    assert log[0].json["TableName"] == place.table
    place.proxy.reset()
    assert place.proxy.counts() == {}
    assert place.proxy.log() == []


@pytest.mark.parametrize(
    ("fault", "code", "status", "value"),
    [
        (faults.throttled, "ThrottlingException", 400, 0),
        (faults.throughput_exceeded, "ProvisionedThroughputExceededException", 400, 0),
        (faults.server_error, "InternalServerError", 500, 0),
        (faults.server_error_after_acting, "InternalServerError", 500, 1),
        (faults.access_denied, "AccessDeniedException", 400, 0),
        (faults.token_expired, "ExpiredTokenException", 400, 0),
    ],
)
def test_answers_that_are_errors(place: Place, fault: Fault, code: str, status: int, value: int) -> None:
    with place.proxy.fault(fault), pytest.raises(botocore.ClientError) as caught:
        place.add()
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert place.value() == value
    place.add()
    assert place.value() == value + 1, "the next one passes, on the same connection"
    assert [(entry.fault, entry.connection.number) for entry in place.proxy.log()] == [(fault.__name__, 1), (None, 1)]


def test_access_denied_names_the_action_and_the_table(place: Place) -> None:
    with place.proxy.fault(faults.access_denied), pytest.raises(botocore.ClientError) as caught:
        place.read()
    text = caught.value.response["Error"]["Message"]
    assert "is not authorized to perform: dynamodb:GetItem on resource: " in text
    assert f":table/{place.table} " in text


@pytest.mark.parametrize(
    ("fault", "error", "value"),
    [
        (faults.lost, botocore.ReadTimeoutError, 0),
        (faults.answer_lost, botocore.ReadTimeoutError, 1),
        (faults.cut, botocore.ConnectionClosedError, 0),
        (faults.cut_after_acting, botocore.ConnectionClosedError, 1),
    ],
)
def test_no_answer(place: Place, fault: Fault, error: type[Exception], value: int) -> None:
    with place.proxy.fault(fault), pytest.raises(error):
        place.add()
    assert place.value() == value
    place.add()
    assert place.value() == value + 1


def test_late(place: Place) -> None:
    with place.proxy.fault(faults.late(0.3)), pytest.raises(botocore.ConnectionClosedError):
        place.add()
    assert place.value() == 0, "the client saw a failure"
    wait_for(1, place)


def test_twice(place: Place) -> None:
    with place.proxy.fault(faults.twice(0.3)):
        place.add()
    assert place.value() == 1
    place.read()
    wait_for(2, place)
    assert place.proxy.counts()["UpdateItem"].requests == 1
    assert place.proxy.counts()["UpdateItem"].delivered == 2


def test_latency(place: Place) -> None:
    place.add()
    quick = min(seconds(place.add) for _ in range(5))
    place.proxy.latency = 0.1
    assert 0.1 <= min(seconds(place.add) for _ in range(5)) < quick + 0.15
    place.proxy.latency = 0
    with place.proxy.fault(faults.delayed(before=0.1, after=0.2)):
        assert seconds(place.add) >= 0.3
    with place.proxy.fault(faults.delayed(after=2)), pytest.raises(botocore.ReadTimeoutError):
        place.add()


def test_dripping(place: Place) -> None:
    with place.proxy.fault(faults.dripping(0.001)):
        assert seconds(place.add) > 0.15, "some two hundred bytes"
    assert place.value() == 1


@pytest.mark.parametrize("offset", [-3600, 600])
def test_clock_off(place: Place, offset: float) -> None:
    with place.proxy.fault(faults.clock_off(offset)):
        answer = place.through.get_item(TableName=place.table, Key={"pk": {"S": "counter"}})
    date = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    assert abs(date.timestamp() - time.time() - offset) < 3


def test_a_black_hole_takes_what_is_open(place: Place) -> None:
    place.add()
    assert place.proxy.black_hole() == 1
    with pytest.raises(botocore.ReadTimeoutError):
        place.add()
    assert place.value() == 1, "nothing arrived"
    place.add()
    assert place.value() == 2, "a new connection works"
    assert place.proxy.requests() == {"UpdateItem": 2}, "what went into the hole was not seen"


def test_a_black_hole_takes_the_answer_under_way(place: Place) -> None:
    def fall(exchange: object) -> bool:
        for connection in list(place.proxy._connections):
            connection.go_dead()
        return True

    with place.proxy.fault(faults.delayed(), when=fall), pytest.raises(botocore.ReadTimeoutError):
        place.add()
    assert place.value() == 1


@pytest.mark.parametrize("how", ["close_connections", "cut_connections"])
def test_connections_that_end_while_idle(place: Place, how: str) -> None:
    place.add()
    assert getattr(place.proxy, how)() == 1
    time.sleep(0.05)
    place.add()
    assert place.value() == 2
    assert [entry.connection.number for entry in place.proxy.log()] == [1, 2]


def test_who_is_hit(place: Place) -> None:
    with place.proxy.fault(faults.server_error, "UpdateItem", times=2) as injection:
        place.read()
        for _ in range(2):
            with pytest.raises(botocore.ClientError):
                place.add()
        place.add()
        assert injection.hits == 2
    with place.proxy.fault(faults.server_error, when=lambda exchange: "n" in exchange.json["UpdateExpression"]):
        with pytest.raises(botocore.ClientError):
            place.add()
        place.add()
    with place.proxy.fault(faults.server_error, times=None):
        for _ in range(3):
            with pytest.raises(botocore.ClientError):
                place.read()
    place.read()


def test_chance_has_a_seed(dynamodb: str, table: str) -> None:
    def hits(seed: int) -> list[bool]:
        with Proxy(dynamodb, seed=seed) as proxy:
            place = Place(proxy, table, dynamodb)
            with proxy.fault(faults.throttled, times=None, chance=0.3):
                for _ in range(40):
                    with suppress(botocore.ClientError):
                        place.read()
            return [entry.fault is not None for entry in proxy.log()]

    first = hits(1)
    assert 3 < sum(first) < 25
    assert hits(1) == first
    assert hits(2) != first
