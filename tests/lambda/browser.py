"""A visitor's browser in front of API Gateway: it makes events of format 2.0, and keeps cookies."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from instance import Instance

HOST = "a1b2c3d4e5.execute-api.us-east-1.amazonaws.com"


@dataclass(frozen=True)
class Page:
    """The response."""

    status: int
    text: str
    location: str | None


@dataclass
class Browser:
    """A browser. Any instance may serve its requests."""

    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, instance: Instance, path: str) -> Page:
        """A page."""
        return self.send(instance, "GET", path)

    def vote(self, instance: Instance, question: int, choice: int) -> Page:
        """Send the form of a question; call `open` first."""
        form = {"choice": choice, "csrfmiddlewaretoken": self.cookies["csrftoken"]}
        return self.send(instance, "POST", f"/polls/{question}/vote/", form)

    def open(self, instance: Instance, question: int) -> list[int]:
        """The form of a question: its choices."""
        page = self.get(instance, f"/polls/{question}/")
        assert page.status == 200, page
        return [int(choice) for choice in re.findall(r'name="choice" value="(\d+)"', page.text)]

    def votes(self, instance: Instance, question: int) -> int:
        """The votes on the page of results."""
        page = self.get(instance, f"/polls/{question}/results/")
        (votes,) = re.findall(r'data-votes="(\d+)"', page.text)
        return int(votes)

    def send(self, instance: Instance, method: str, path: str, form: dict[str, Any] | None = None) -> Page:
        """One request."""
        answer = instance.invoke(self.event(method, path, form))
        for cookie in answer.get("cookies", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name.strip()] = value
        assert answer["isBase64Encoded"] is False
        return Page(answer["statusCode"], answer["body"], answer["headers"].get("location"))

    def event(self, method: str, path: str, form: dict[str, Any] | None = None) -> dict[str, Any]:
        """What API Gateway sends to the function. It sends forms in base64."""
        headers = {
            "accept": "text/html",
            "content-length": "0",
            "host": HOST,
            "user-agent": "browser",
            "x-forwarded-for": "203.0.113.7",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        }
        event: dict[str, Any] = {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": "",
            "headers": headers,
            "requestContext": {
                "accountId": "123456789012",
                "apiId": HOST.partition(".")[0],
                "domainName": HOST,
                "domainPrefix": HOST.partition(".")[0],
                "http": {
                    "method": method,
                    "path": path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": "203.0.113.7",
                    "userAgent": "browser",
                },
                "requestId": "JKJaXmPLvHcESHA=",
                "routeKey": "$default",
                "stage": "$default",
                "time": "12/Mar/2026:19:03:58 +0000",
                "timeEpoch": 1773342238000,
            },
            "isBase64Encoded": form is not None,
        }
        if self.cookies:
            event["cookies"] = [f"{name}={value}" for name, value in self.cookies.items()]
        if form is not None:
            body = urlencode(form).encode()
            headers |= {"content-type": "application/x-www-form-urlencoded", "content-length": str(len(body))}
            headers["origin"] = f"https://{HOST}"
            event["body"] = b64encode(body).decode()
        return event
