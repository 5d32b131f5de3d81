"""The features that Django can use, where they differ from stock SQLite's."""

from __future__ import annotations

import django
from django.db.backends.sqlite3 import features
from django.utils.functional import cached_property


class DatabaseFeatures(features.DatabaseFeatures):
    """Stock SQLite's features, with many connections to one test database."""

    @cached_property
    def test_db_allows_multiple_connections(self) -> bool:  # type: ignore[override]
        """Whether another thread can open the test database too."""
        return not self.connection.is_in_memory_db()

    @cached_property
    def supports_json_field(self) -> bool:  # type: ignore[override]
        """Whether this SQLite has the JSON functions.

        System checks ask this, for example in `manage.py check` and `runserver`. Therefore it uses a database in
        memory. The stock backend begins a transaction on the real database, which would adopt it.
        """
        memory = self.connection.Database.connect(":memory:")
        try:
            memory.execute("SELECT json('{}')")
        except self.connection.Database.OperationalError:
            return False
        else:
            return True
        finally:
            memory.close()

    @cached_property
    def django_test_skips(self) -> dict[str, set[str]]:  # type: ignore[override]
        """List the tests of Django's own suite that do not apply here, by reason."""
        skips = {
            **super().django_test_skips,
            "By default Seawall begins transactions with BEGIN IMMEDIATE.": {
                "backends.base.test_base.DatabaseWrapperLoggingTests.test_commit_debug_log",
                "backends.sqlite.tests.TestTransactionMode.test_default_transaction_mode",
            },
            "It looks for the name of the stock backend in a text.": {
                "backends.sqlite.tests.Tests.test_check_database_version_supported",
            },
            "Seawall looks for the JSON functions in a database in memory.": {
                "backends.sqlite.test_features.FeaturesTests.test_supports_json_field_operational_error",
            },
            "It closes the connection that the tests after it use, if no test before it left one open (with any "
            "database in a file).": {
                "backends.sqlite.tests.ThreadSharing.test_database_sharing_in_threads",
            },
            "A transaction reads one version to its end: it does not see, and so cannot "
            "delete, what others commit meanwhile (this test wants READ COMMITTED).": {
                "delete_regress.tests.DeleteLockingTest.test_concurrent_delete",
            },
        }
        if django.VERSION >= (6, 1):
            # Django rejects a list that names a test which it does not have.
            skips["A worker that was spawned uses its clone where it lies, and copies nothing."] = {
                "backends.sqlite.test_creation.TestDbSignatureTests."
                "test_setup_worker_connection_respects_test_database_name",
            }
        return skips
