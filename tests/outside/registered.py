"""A plugin for pytest: registers Seawall in `sqlite3` before anything opens a database."""

import seawall

seawall.register()
