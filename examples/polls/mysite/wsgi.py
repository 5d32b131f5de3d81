"""The project as a WSGI application."""

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

# The style sheets come from here too, so that the example needs no second server.
application = StaticFilesHandler(get_wsgi_application())
