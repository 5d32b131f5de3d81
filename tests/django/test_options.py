"""What the settings say, who goes first, and what is refused."""

import copy
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from seawall.django.options import DEFAULT_LEASE, Options

NOTHING: dict[str, Any] = {"OPTIONS": {}}


def test_the_defaults() -> None:
    assert Options.of(NOTHING) == Options("fs:", 5.0, "request")


def test_options_before_settings_before_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAWALL_COORDINATOR", "dynamodb://environment")
    monkeypatch.setenv("SQLITE_LOCK_EXPIRATION", "2")
    assert Options.of(NOTHING).coordinator == "dynamodb://environment"
    assert Options.of(NOTHING).lease == 2
    with override_settings(SEAWALL_COORDINATOR="dynamodb://settings", SQLITE_LOCK_EXPIRATION=1):
        assert Options.of(NOTHING).coordinator == "dynamodb://settings"
        assert Options.of(NOTHING).lease == 1
        options = Options.of({"OPTIONS": {"coordinator": "fs:", "lease": 50}})
        assert (options.coordinator, options.lease) == ("fs:", 50)


def test_the_names_of_django_sqlite_efs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLITE_LOCK_DYNAMODB_TABLE", "locks")
    monkeypatch.setenv("SQLITE_LOCK_MAX_ATTEMPTS", "10")
    assert Options.of({"OPTIONS": {"timeout": 3}}).coordinator == "dynamodb://locks"
    with override_settings(SQLITE_LOCK_DYNAMODB_TABLE="others"):
        assert Options.of(NOTHING).coordinator == "dynamodb://others"
    monkeypatch.setenv("SEAWALL_COORDINATOR", "fs:")
    assert Options.of(NOTHING).coordinator == "fs:"
    # Its lock is not renewed, so it must outlast the longest request; a lease is, and need not.
    monkeypatch.setenv("SQLITE_LOCK_EXPIRATION", "900")
    assert Options.of(NOTHING).lease == DEFAULT_LEASE


def test_other_names_of_a_database() -> None:
    assert Options.of({"OPTIONS": {"legacy_names": ["/mnt/a", Path("/mnt/b")]}}).legacy_names == ("/mnt/a", "/mnt/b")


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLITE_LOCK_DYNAMODB_TABLE", "")
    monkeypatch.setenv("SQLITE_LOCK_EXPIRATION", "")
    assert Options.of(NOTHING) == Options()


def test_numbers_may_be_text() -> None:
    options = {"timeout": "2.5", "freshness": "10", "lease": "30", "page_cache": "1048576"}
    assert Options.of({"OPTIONS": options}) == Options("fs:", 2.5, 10.0, 30.0, page_cache=1048576)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("coordinator", "redis://host"),
        ("coordinator", "dynamodb:"),
        ("coordinator", "fs"),
        ("coordinator", 5),
        ("timeout", -1),
        ("timeout", "soon"),
        ("timeout", True),
        ("timeout", float("nan")),
        ("timeout", [5]),
        ("freshness", "always"),
        ("freshness", -1),
        ("freshness", 90000),
        ("lease", 0),
        ("lease", 1e-9),
        ("lease", 7200),
        ("timeout", 1e9),
        ("page_cache", 1 << 60),
        ("request_age", -1),
        ("exclusive_mode", "LATER"),
        ("exclusive_mode", 5),
        ("request_age", 1e9),
        ("legacy_names", "/mnt/a"),
        ("legacy_names", [5]),
        ("page_cache", 1.5),
        ("page_cache", "64 MiB"),
    ],
)
def test_a_wrong_value_is_reported_with_its_place(option: str, value: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"OPTIONS\['{option}'\] is "):
        Options.of({"OPTIONS": {option: value}})


def test_a_wrong_variable_is_reported_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLITE_LOCK_EXPIRATION", "never")
    with pytest.raises(ImproperlyConfigured, match="environment variable SQLITE_LOCK_EXPIRATION"):
        Options.of(NOTHING)


def test_nothing_is_written_into_the_settings() -> None:
    settings_dict = {"OPTIONS": {"timeout": "5", "init_command": "PRAGMA cache_size=100"}}
    before = copy.deepcopy(settings_dict)
    Options.of(settings_dict)
    assert settings_dict == before


@pytest.mark.parametrize("value", ["redis://user:sesame@host", "user:sesame@host", "dynamodb//:sesame@x"])
def test_a_wrong_coordinator_s_password_is_not_shown(value: str) -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        Options.of({"OPTIONS": {"coordinator": value}})
    assert "names no coordinator" in str(raised.value)
    assert "sesame" not in str(raised.value)
