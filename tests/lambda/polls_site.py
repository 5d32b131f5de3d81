"""The polls as template.yaml deploys them; for AWS stand a folder, DynamoDB Local, and the proxy in front of it."""

from __future__ import annotations

import fnmatch
import itertools
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from browser import HOST
from dynamodb import faults
from dynamodb.proxy import Exchange, Proxy
from instance import Instance
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

AWS = Path(__file__).resolve().parents[2] / "deploy" / "aws"
sys.path.append(str(AWS))

import package  # noqa: E402

TEMPLATE: dict[str, Any] = yaml_parse((AWS / "template.yaml").read_text())
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "first", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}


class Site:
    """A site with its database; instances of its functions come and go."""

    def __init__(self, folder: Path, proxy: Proxy, table: str) -> None:
        self.proxy, self.folder = proxy, folder
        self.database = folder / "efs" / "polls.sqlite3"
        self.database.parent.mkdir()
        self.coordinator = f"dynamodb://{table}?region=us-east-1&endpoint={proxy.endpoint}"
        package.app(folder / "app")
        self._numbers = itertools.count()

    def instance(self, function: str = "Web", **environment: str) -> Instance:
        """A new instance of one of the template's functions; it starts with `with`."""
        variables = {
            "DJANGO_SETTINGS_MODULE": "aws_settings",
            "DJANGO_SECRET_KEY": "a key for the tests of what runs on Lambda, and for nothing else",
            "DJANGO_ALLOWED_HOSTS": "." + HOST.partition(".")[2],
            "POLLS_DATABASE": str(self.database),
            "SEAWALL_COORDINATOR": self.coordinator,
        }
        assert variables.keys() == TEMPLATE["Globals"]["Function"]["Environment"]["Variables"].keys()
        handler = TEMPLATE["Resources"][function]["Properties"]["Handler"]
        log = self.folder / f"{function}-{next(self._numbers)}.log"
        return Instance(handler, self.folder / "app", {**CREDENTIALS, **variables, **environment}, log)

    def manage(self, *command: str) -> str:
        """Run a command of `manage.py` by the function that is there for it."""
        with self.instance("Manage") as instance:
            return str(instance.invoke({"command": command}))

    def role(self) -> AbstractContextManager[object]:
        """The proxy refuses what the template's role may not do."""
        return self.proxy.fault(faults.access_denied, times=None, when=lambda exchange: not is_allowed(exchange))


def is_allowed(exchange: Exchange) -> bool:
    """Whether the template's policy lets this request pass: the action, and the item's key."""
    statements = TEMPLATE["Resources"]["Role"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    (order,) = [statement for statement in statements if statement["Sid"] == "Order"]
    patterns = order["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
    key = (exchange.json.get("Key") or exchange.json.get("Item") or {}).get("pk", {}).get("S", "")
    is_key_allowed = any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)
    return f"dynamodb:{exchange.operation}" in order["Action"] and is_key_allowed
