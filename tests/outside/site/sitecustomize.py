"""Python imports this first in every process of CPython's suite, its children too."""

import outside.files  # noqa: F401
