"""Other projects' own test suites, run on Seawall beside stock SQLite (`make test-outside`, docs/compatibility.md)."""
