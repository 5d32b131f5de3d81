"""What Amazon's own transform makes of template.yaml is a template that CloudFormation takes, as far as tests show."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from cfnlint.api import lint  # type: ignore[import-untyped]
from polls_site import TEMPLATE
from samtranslator.parser.parser import Parser  # type: ignore[import-untyped]
from samtranslator.translator.translator import Translator  # type: ignore[import-untyped]


@pytest.fixture
def transformed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    template = copy.deepcopy(TEMPLATE)
    # As `sam deploy` does when it has put them there.
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/app.zip"
    template["Resources"]["Layer"]["Properties"]["ContentUri"] = "s3://bucket/layer.zip"
    result: dict[str, Any] = Translator({}, Parser()).translate(template, {})
    return result


def test_it_is_clean(transformed: dict[str, Any]) -> None:
    assert lint(json.dumps(transformed)) == []


def test_what_comes_of_it(transformed: dict[str, Any]) -> None:
    kinds = [resource["Type"] for resource in transformed["Resources"].values()]
    assert kinds.count("AWS::Lambda::Function") == 3
    assert kinds.count("AWS::ApiGatewayV2::Api") == 1
    assert "ServerlessHttpApi" in transformed["Resources"], "the output names it"
    for name in ("FileSystem", "Table"):
        assert transformed["Resources"][name]["DeletionPolicy"] == "Retain"
    roles = [resource for resource in transformed["Resources"].values() if resource["Type"] == "AWS::IAM::Role"]
    assert len(roles) == 1, "none but the one that is written down"
