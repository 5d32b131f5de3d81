"""`seawall://` in DATABASE_URL, for dj-database-url and django-environ: import this module in the settings.

import seawall.django.database_url  # noqa: F401

DATABASES = {"default": dj_database_url.config()}  # DATABASE_URL=seawall:////mnt/shared/db.sqlite3?timeout=10
"""

from __future__ import annotations

from contextlib import suppress

ENGINE = "seawall.django"

with suppress(ModuleNotFoundError):
    import dj_database_url

    dj_database_url.register("seawall", ENGINE)

with suppress(ModuleNotFoundError):
    import environ

    environ.Env.DB_SCHEMES["seawall"] = ENGINE
