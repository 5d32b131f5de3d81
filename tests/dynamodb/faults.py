"""The faults of a request to DynamoDB. Each is a coroutine function of an `Exchange`, for `Proxy.fault`."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from dynamodb.proxy import Exchange, Fault, Message

DYNAMODB = "com.amazonaws.dynamodb.v20120810"
CORAL = "com.amazon.coral.service"

# The server answers with an error.


def refusal(kind: str, message: str, status: int = 400) -> Message:
    """An error in DynamoDB's form."""
    body = json.dumps({"__type": kind, "message": message}).encode()
    head = (
        f"HTTP/1.1 {status} {'Bad Request' if status < 500 else 'Internal Server Error'}\r\n"
        f"Date: {_http_date(datetime.now(UTC))}\r\n"
        "Content-Type: application/x-amz-json-1.0\r\n"
        "x-amzn-RequestId: 00000000-0000-0000-0000-000000000000\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return Message(head.encode(), body)


async def throttled(exchange: Exchange) -> None:
    """Too many requests, for the account."""
    kind = "com.amazon.coral.availability#ThrottlingException"
    await exchange.answer(refusal(kind, "Rate of requests exceeds the allowed throughput."))


async def throughput_exceeded(exchange: Exchange) -> None:
    """Too many requests, for the table or the item."""
    text = "The level of configured provisioned throughput for the table was exceeded."
    await exchange.answer(refusal(f"{DYNAMODB}#ProvisionedThroughputExceededException", text))


async def server_error(exchange: Exchange) -> None:
    """A 500, and the server did nothing."""
    await exchange.answer(_SERVER_ERROR)


async def server_error_after_acting(exchange: Exchange) -> None:
    """A 500, but the server carried the request out."""
    await exchange.deliver()
    await exchange.answer(_SERVER_ERROR)


async def access_denied(exchange: Exchange) -> None:
    """The role does not have the permission."""
    text = (
        "User: arn:aws:sts::123456789012:assumed-role/polls/polls is not authorized to perform: "
        f"dynamodb:{exchange.operation} on resource: "
        f"arn:aws:dynamodb:us-east-1:123456789012:table/{exchange.json.get('TableName')} "
        f"because no identity-based policy allows the dynamodb:{exchange.operation} action"
    )
    await exchange.answer(refusal(f"{CORAL}#AccessDeniedException", text))


async def token_expired(exchange: Exchange) -> None:
    """The credentials have expired."""
    text = "The security token included in the request is expired"
    await exchange.answer(refusal(f"{CORAL}#ExpiredTokenException", text))


def clock_off(seconds: float) -> Fault:
    """The server's clock, according to its `Date`, is this many seconds ahead of ours."""

    async def clock_off(exchange: Exchange) -> None:
        answer = await exchange.deliver()
        date = f"\r\nDate: {_http_date(datetime.now(UTC) + timedelta(seconds=seconds))}\r\n".encode()
        head = re.sub(rb"\r\ndate: [^\r]*\r\n", b"\r\n", answer.head, flags=re.IGNORECASE)
        await exchange.answer(Message(head.replace(b"\r\n", date, 1), answer.body))

    return clock_off


# The network.


def delayed(before: float = 0.0, after: float = 0.0) -> Fault:
    """The request and its answer each take so many seconds to arrive."""

    async def delayed(exchange: Exchange) -> None:
        await asyncio.sleep(before)
        answer = await exchange.deliver()
        await asyncio.sleep(after)
        await exchange.answer(answer)

    return delayed


def dripping(seconds_per_byte: float) -> Fault:
    """The answer comes byte by byte."""

    async def dripping(exchange: Exchange) -> None:
        await exchange.answer(await exchange.deliver(), seconds_per_byte)

    return dripping


async def lost(exchange: Exchange) -> None:
    """The request never arrives, and no answer comes."""
    await exchange.silence()


async def answer_lost(exchange: Exchange) -> None:
    """The server carries the request out, and its answer never arrives."""
    await exchange.deliver()
    await exchange.silence()


async def cut(exchange: Exchange) -> None:
    """The connection is reset before the server sees the request."""
    exchange.cut()


async def cut_after_acting(exchange: Exchange) -> None:
    """The server carries the request out, and the connection is reset before its answer."""
    await exchange.deliver()
    exchange.cut()


def late(seconds: float) -> Fault:
    """The connection is reset, and the request arrives so many seconds later."""

    async def late(exchange: Exchange) -> None:
        exchange.cut()
        await asyncio.sleep(seconds)
        await exchange.deliver()

    return late


def twice(seconds: float) -> Fault:
    """The request is answered as usual, and arrives once more so many seconds later."""

    async def twice(exchange: Exchange) -> None:
        async def again() -> None:
            await asyncio.sleep(seconds)
            await exchange.deliver()

        answer = await exchange.deliver()
        exchange.in_background(again())
        await exchange.answer(answer)

    return twice


def _http_date(time: datetime) -> str:
    return format_datetime(time, usegmt=True)


_SERVER_ERROR = refusal(f"{DYNAMODB}#InternalServerError", "The request processing has failed.", status=500)
