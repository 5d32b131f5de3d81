"""What tests on DynamoDB share: the endpoint of a server, a client, and tables of their own.

Every test run loads this module, so it imports boto3 only when a test asks for a table.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from dynamodb.local import CREDENTIALS, ENDPOINT, Absent, DynamoDBLocal

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@pytest.fixture(scope="session")
def dynamodb() -> Iterator[str]:
    """The endpoint of a DynamoDB Local: the one that `local.py` started, or this session's own."""
    if find_spec("boto3") is None:
        pytest.skip("SKIPPED: no boto3 to look at the table with (requirements-dev.txt)")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        if running := os.environ.get(ENDPOINT):
            yield running
            return
        try:
            with DynamoDBLocal() as server:
                patch.setenv(ENDPOINT, server.endpoint)
                yield server.endpoint
        except Absent as absent:
            pytest.skip(f"SKIPPED: no DynamoDB Local: {absent}")


@pytest.fixture
def table(dynamodb: str) -> str:
    """An empty table with the key that django-sqlite-efs and Seawall need."""
    return make_table(dynamodb)


def make_table(endpoint: str, name: str | None = None) -> str:
    """A table on demand with the string key `pk`, under a name that no other test has."""
    name = name or f"seawall-{uuid4().hex}"
    client(endpoint).create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return name


def client(endpoint: str, timeout: float = 5.0) -> DynamoDBClient:
    """A boto3 client that never repeats a request, so that a test sees each answer."""
    import boto3
    from botocore.config import Config

    config = Config(retries={"total_max_attempts": 1}, connect_timeout=timeout, read_timeout=timeout)
    return boto3.client(
        "dynamodb",
        endpoint_url=endpoint,
        region_name=CREDENTIALS["AWS_REGION"],
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=config,
    )
