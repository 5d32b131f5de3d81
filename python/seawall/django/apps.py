"""The Django app, for `manage.py seawall`: `INSTALLED_APPS += ["seawall.django"]`. The backend needs no app."""

from __future__ import annotations

from django.apps import AppConfig


class SeawallConfig(AppConfig):
    """An app without models, for the management command."""

    name = "seawall.django"
    # The default is the last part of the name, and "django" would be a bad label.
    label = "seawall"
    verbose_name = "Seawall"
