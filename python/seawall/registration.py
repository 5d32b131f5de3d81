"""Bringing Seawall's VFS into the SQLite that a Python module uses."""

from __future__ import annotations

import atexit
import os
import sqlite3
import sys
import threading
from pathlib import Path
from types import ModuleType

from . import _native

_registered: set[str] = set()
_registering = threading.Lock()
_ends_in = 0
"""The process that says when it ends."""
# In a child, no thread that does not exist there may hold it.
os.register_at_fork(
    before=_registering.acquire, after_in_parent=_registering.release, after_in_child=_registering.release
)


def register(module: ModuleType = sqlite3) -> None:
    """Register the VFS `seawall` in the SQLite of `module`: `sqlite3`, or one that is like it (`pysqlite3`).

    From then on every connection of that module can open `file:…?vfs=seawall`. A process can use several such modules.
    Each has its own copy of SQLite and needs its own registration. Registering twice is not an error.
    """
    with _registering:
        if module.__name__ not in _registered:
            _register(module)
            _registered.add(module.__name__)


def extension_path() -> str:
    """Return the loadable extension's path, for the `sqlite3` shell (`.load`) and other languages' drivers.

    The extension does not need Python. The path is a `str`, because `sqlite3.Connection.load_extension` and apsw accept
    only that.
    """
    path = Path(__file__).with_name("libseawall.so")
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist. Install Seawall with pip (`pip install .` in a clone), or build the extension "
            "with `cargo build --locked --release -p seawall-sqlite` and put it there"
        )
    return str(path)


def say_when_it_ends() -> None:
    """Promise the engine that this process will call `end_process` when it ends.

    `end_process` notes the last commits and gives leases back. Without the promise, the engine gives the lease back
    whenever a connection is closed. A forked child may end by `os._exit()`, which runs no exit handler. Therefore a
    child makes the promise only when it serves its first request.
    """
    global _ends_in
    if _ends_in != os.getpid():
        _ends_in = os.getpid()
        atexit.unregister(_native.end_process)
        atexit.register(_native.end_process)
        _native.will_end_process()


def _register(module: ModuleType) -> None:
    reasons = []
    for way in (_through_its_library, _as_an_extension):
        try:
            way(module)
            _verify(module)
        except (OSError, AttributeError, module.Error) as error:
            reasons.append(str(error))
        else:
            return
    raise ImportError(
        f"Seawall found no way into the SQLite of {module.__name__} (SQLite {module.sqlite_version}): "
        f"{'; '.join(reasons)}. Install pysqlite3-binary and use it instead of sqlite3, or use a Python whose "
        "sqlite3 can load extensions"
    )


def _through_its_library(module: ModuleType) -> None:
    """Register by the library in which the module calls SQLite. Works even if loading extensions is compiled out."""
    native = sys.modules[module.connect.__module__]
    path = getattr(native, "__file__", None)
    if path is None:
        raise OSError(f"{native.__name__} is built into the interpreter")
    _native.register(path)


def _as_an_extension(module: ModuleType) -> None:
    """Register by loading an extension: this very library, so that the process has only one engine."""
    with_extensions = module.connect(":memory:")
    try:
        if not hasattr(with_extensions, "enable_load_extension"):
            raise OSError("loading extensions is compiled out of it")
        with_extensions.enable_load_extension(True)
        with_extensions.execute("SELECT load_extension(?, 'sqlite3_seawall_init')", (_native.__file__,)).fetchone()
    finally:
        with_extensions.close()


def _verify(module: ModuleType) -> None:
    """Check that this SQLite has the VFS now, because the library may have led to another copy."""
    module.connect("file:?mode=memory&vfs=seawall", uri=True).close()


say_when_it_ends()
