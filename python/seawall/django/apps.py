"""The Django app, for `manage.py seawall`: `INSTALLED_APPS += ["seawall.django"]`. The backend needs no app."""

from __future__ import annotations

from django.apps import AppConfig


class SeawallConfig(AppConfig):
    """An app without models; what it brings is the management command."""

    name = "seawall.django"
    # By default it would be the last part of the name, and an app that is called "django" says nothing.
    label = "seawall"
    verbose_name = "Seawall"
