"""The polls application."""

from django.apps import AppConfig


class PollsConfig(AppConfig):
    """Its name, for Django."""

    name = "polls"
