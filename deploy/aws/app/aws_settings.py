"""The settings of the polls on Lambda; the environment names the database and its coordinator (see template.yaml)."""

import os

from mysite.settings import *  # noqa: F403

SECRET_KEY = os.environ["DJANGO_SECRET_KEY"]
ALLOWED_HOSTS = os.environ["DJANGO_ALLOWED_HOSTS"].split(",")

# API Gateway serves nothing but HTTPS, and says so in X-Forwarded-Proto, which apig-wsgi heeds.
CSRF_COOKIE_SECURE = True
SESSION_COOKIE_SECURE = True
