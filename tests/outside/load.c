/* Loads Seawall's extension when an unmodified program opens its first database.
**
** Linked with -Wl,--wrap=sqlite3_open_v2. Not earlier: the programs call sqlite3_config(), which must come before
** SQLite is used.
*/
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

int __real_sqlite3_open_v2(const char *name, sqlite3 **db, int flags, const char *vfs);

static void load(const char *extension) {
  sqlite3 *db = 0;
  char *error = 0;
  if (__real_sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, 0) ||
      sqlite3_enable_load_extension(db, 1) || sqlite3_load_extension(db, extension, 0, &error)) {
    fprintf(stderr, "%s cannot be loaded: %s\n", extension, error ? error : sqlite3_errmsg(db));
    exit(2);
  }
  sqlite3_close(db);
}

int __wrap_sqlite3_open_v2(const char *name, sqlite3 **db, int flags, const char *vfs) {
  static int first = 1;
  const char *extension = getenv("SEAWALL_EXTENSION");
  if (first && extension) load(extension);
  first = 0;
  return __real_sqlite3_open_v2(name, db, flags, vfs);
}
