"""What Django may rely on, where it is more than stock SQLite gives."""

from __future__ import annotations

from django.db.backends.sqlite3 import features
from django.utils.functional import cached_property


class DatabaseFeatures(features.DatabaseFeatures):
    """Stock SQLite's features, with many connections to one test database."""

    @cached_property
    def test_db_allows_multiple_connections(self) -> bool:  # type: ignore[override]
        """Whether another thread can open the test database too."""
        return not self.connection.is_in_memory_db()

    @cached_property
    def django_test_skips(self) -> dict[str, set[str]]:  # type: ignore[override]
        """List the tests of Django's own suite that do not apply here, by reason."""
        return {
            **super().django_test_skips,
            "Seawall begins transactions with BEGIN IMMEDIATE unless told otherwise.": {
                "backends.base.test_base.DatabaseWrapperLoggingTests.test_commit_debug_log",
                "backends.sqlite.tests.TestTransactionMode.test_default_transaction_mode",
            },
            "It looks for the name of the stock backend in a text.": {
                "backends.sqlite.tests.Tests.test_check_database_version_supported",
            },
            "A transaction reads one version to its end: it does not see, and so cannot "
            "delete, what others commit meanwhile (this test wants READ COMMITTED).": {
                "delete_regress.tests.DeleteLockingTest.test_concurrent_delete",
            },
        }
