//! What a statement will certainly write, by the beginning of its text.
//!
//! SQLite says that a statement writes, but not what. The lease may be taken together with the snapshot only where that
//! is certain. A statement that this module does not understand is not certain, and needs one more request for its
//! lease.

/// What a statement's text says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Intent<'a> {
    /// BEGIN IMMEDIATE or EXCLUSIVE: every attached database is to be written.
    BeginsWriting,
    /// A table gets, loses or changes rows.
    Changes(Target<'a>),
    /// A table is created, and not a temporary one.
    Creates(Target<'a>),
    /// A view is created. A temporary view may hide a table of the same name.
    CreatesView,
    /// A PRAGMA that turns a database's rollback journal off.
    TurnsJournalOff,
    /// A PRAGMA about whether changed pages may be written before the commit.
    SetsCacheSpill,
    /// VACUUM, which copies into a temporary database of its own.
    Vacuums,
    /// ATTACH of another database.
    Attaches,
    /// Anything else.
    Other,
}

/// The name of a table, as it is written in a statement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) schema: Option<&'a str>,
    pub(crate) table: &'a str,
}

impl Intent<'_> {
    pub(crate) fn of(sql: &str) -> Intent<'_> {
        parse(&mut Tokens { rest: sql }).unwrap_or(Intent::Other)
    }
}

fn parse<'a>(tokens: &mut Tokens<'a>) -> Option<Intent<'a>> {
    tokens.skip_space();
    // SQLite treats semicolons before a statement as a part of it.
    while let Some(rest) = tokens.rest.strip_prefix(';') {
        tokens.rest = rest;
        tokens.skip_space();
    }
    let first = tokens.next()?.word()?;
    match keyword(first) {
        "BEGIN" => {
            let how = tokens.next()?.word()?;
            matches!(keyword(how), "IMMEDIATE" | "EXCLUSIVE").then_some(Intent::BeginsWriting)
        }
        "PRAGMA" => {
            let words: Vec<_> = std::iter::from_fn(|| tokens.next())
                .filter_map(|token| token.name())
                .map(str::to_ascii_lowercase)
                .collect();
            let has = |word| words.iter().any(|it| it == word);
            if has("journal_mode") && has("off") {
                Some(Intent::TurnsJournalOff)
            } else {
                has("cache_spill").then_some(Intent::SetsCacheSpill)
            }
        }
        "VACUUM" => Some(Intent::Vacuums),
        "ATTACH" => Some(Intent::Attaches),
        "CREATE" => {
            let mut kind = keyword(tokens.next()?.word()?);
            let is_temporary = matches!(kind, "TEMP" | "TEMPORARY");
            if is_temporary {
                kind = keyword(tokens.next()?.word()?);
            }
            match kind {
                "VIEW" => Some(Intent::CreatesView),
                // With IF NOT EXISTS the statement may write nothing.
                "TABLE" if !is_temporary => {
                    let name = tokens.next().filter(|name| !name.is("IF"))?;
                    Some(Intent::Creates(tokens.target(name)?))
                }
                _ => None,
            }
        }
        "WITH" => {
            // The verb follows the common table expressions, whose text is in parentheses.
            let mut depth = 0_u32;
            loop {
                match tokens.next()? {
                    Token::Symbol('(') => depth += 1,
                    Token::Symbol(')') => depth = depth.checked_sub(1)?,
                    Token::Word(word) if depth == 0 => {
                        let verb = keyword(word);
                        if matches!(verb, "INSERT" | "REPLACE" | "UPDATE" | "DELETE") {
                            return tokens.changes(verb);
                        }
                        if verb == "SELECT" {
                            return None;
                        }
                    }
                    _ => {}
                }
            }
        }
        // The most frequent statement needs no further look.
        "SELECT" => None,
        verb => tokens.changes(verb),
    }
}

/// A piece of SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A keyword or a name without quotes.
    Word(&'a str),
    /// A name in quotes, without the quotes. A name that contains quotes is not understood.
    Quoted(&'a str),
    Symbol(char),
}

impl<'a> Token<'a> {
    fn word(self) -> Option<&'a str> {
        if let Token::Word(word) = self { Some(word) } else { None }
    }

    fn name(self) -> Option<&'a str> {
        if let Token::Word(name) | Token::Quoted(name) = self { Some(name) } else { None }
    }

    fn is(self, word: &str) -> bool {
        self.word().is_some_and(|it| it.eq_ignore_ascii_case(word))
    }
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_space();
        let first = self.rest.chars().next()?;
        let (end, token): (usize, fn(&'a str) -> Token<'a>) = match first {
            '"' | '`' | '\'' => (1 + self.rest[1..].find(first)? + 1, |text| Token::Quoted(&text[1..text.len() - 1])),
            '[' => (self.rest.find(']')? + 1, |text| Token::Quoted(&text[1..text.len() - 1])),
            _ if is_name_letter(first) => {
                (self.rest.find(|letter| !is_name_letter(letter)).unwrap_or(self.rest.len()), Token::Word)
            }
            _ => (first.len_utf8(), |text| Token::Symbol(text.chars().next().unwrap_or_default())),
        };
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        // A doubled quote stands for one quote inside the name.
        let is_doubled = matches!(first, '"' | '`' | '\'') && rest.starts_with(first);
        (!is_doubled).then(|| token(text))
    }

    fn skip_space(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            let end = if self.rest.starts_with("--") {
                self.rest.find('\n')
            } else if self.rest.starts_with("/*") {
                self.rest.find("*/").map(|at| at + 1)
            } else {
                return;
            };
            self.rest = end.map_or("", |end| &self.rest[end + 1..]);
        }
    }

    /// The table that a statement with this verb changes; the text after the verb is next.
    fn changes(&mut self, verb: &str) -> Option<Intent<'a>> {
        let mut next = self.next()?;
        if matches!(verb, "INSERT" | "UPDATE") && next.is("OR") {
            self.next()?;
            next = self.next()?;
        }
        let introduced = match verb {
            "INSERT" | "REPLACE" => Some("INTO"),
            "DELETE" => Some("FROM"),
            "UPDATE" => None,
            _ => return None,
        };
        if let Some(word) = introduced {
            if !next.is(word) {
                return None;
            }
            next = self.next()?;
        }
        Some(Intent::Changes(self.target(next)?))
    }

    /// The name of which `first` is the first token.
    fn target(&mut self, first: Token<'a>) -> Option<Target<'a>> {
        let first = first.name()?;
        let before = self.rest;
        if self.next() == Some(Token::Symbol('.')) {
            return Some(Target { schema: Some(first), table: self.next()?.name()? });
        }
        self.rest = before;
        Some(Target { schema: None, table: first })
    }
}

fn is_name_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == '$' || !letter.is_ascii()
}

/// `word` in capitals, if it is one of the keywords that this module knows; otherwise an empty text.
fn keyword(word: &str) -> &'static str {
    const KEYWORDS: [&str; 16] = [
        "BEGIN",
        "IMMEDIATE",
        "EXCLUSIVE",
        "PRAGMA",
        "ATTACH",
        "VACUUM",
        "CREATE",
        "TEMP",
        "TEMPORARY",
        "VIEW",
        "TABLE",
        "WITH",
        "INSERT",
        "REPLACE",
        "UPDATE",
        "DELETE",
    ];
    let is_it = |keyword: &&&str| keyword.eq_ignore_ascii_case(word);
    match KEYWORDS.iter().find(is_it) {
        Some(keyword) => keyword,
        None if word.eq_ignore_ascii_case("SELECT") => "SELECT",
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes<'a>(schema: Option<&'a str>, table: &'a str) -> Intent<'a> {
        Intent::Changes(Target { schema, table })
    }

    #[test]
    fn targets_that_are_certain() {
        for (sql, intent) in [
            ("begin immediate", Intent::BeginsWriting),
            (" /* a */ -- b\n BEGIN EXCLUSIVE TRANSACTION", Intent::BeginsWriting),
            ("INSERT INTO t VALUES (1)", changes(None, "t")),
            ("insert or replace into main . t select 1", changes(Some("main"), "t")),
            ("REPLACE INTO \"a table\"(x) VALUES (1)", changes(None, "a table")),
            ("UPDATE OR IGNORE [t] SET a = 1", changes(None, "t")),
            ("UPDATE attempts SET a = 1", changes(None, "attempts")),
            ("DELETE FROM `main`.'t' WHERE 1", changes(Some("main"), "t")),
            ("DELETE FROM tischläufer", changes(None, "tischläufer")),
            ("WITH c(n) AS (SELECT 1 UNION ALL SELECT ')' FROM c) INSERT OR FAIL INTO t SELECT 1", changes(None, "t")),
            ("WITH a AS MATERIALIZED (SELECT 1), \"update\" AS (SELECT 2) DELETE FROM t", changes(None, "t")),
            ("CREATE TABLE t (a)", Intent::Creates(Target { schema: None, table: "t" })),
            ("CREATE TABLE temp.t (a)", Intent::Creates(Target { schema: Some("temp"), table: "t" })),
            ("CREATE TEMP VIEW v AS SELECT 1", Intent::CreatesView),
            ("PRAGMA archive.journal_mode = 'OFF'", Intent::TurnsJournalOff),
            ("pragma journal_mode(off)", Intent::TurnsJournalOff),
            ("; /* a */ ; PRAGMA off.\"journal_mode\"", Intent::TurnsJournalOff),
            ("PRAGMA temp.cache_spill=0", Intent::SetsCacheSpill),
            (";vacuum main", Intent::Vacuums),
        ] {
            assert_eq!(Intent::of(sql), intent, "{sql}");
        }
    }

    #[test]
    fn every_other_statement_is_uncertain() {
        for sql in [
            "",
            "BEGIN",
            "BEGIN DEFERRED",
            "SELECT 1",
            "CREATE TEMP TABLE t (a)",
            "CREATE TABLE IF NOT EXISTS t (a)",
            "CREATE INDEX i ON t (a)",
            "EXPLAIN INSERT INTO t VALUES (1)",
            "WITH c AS (SELECT 1) SELECT * FROM c",
            "WITH c AS (SELECT 1",
            "INSERT t VALUES (1)",
            "DELETE FROM \"a \"\" quote\"",
            "INSERT INTO 'unfinished",
            "PRAGMA journal_mode",
            "PRAGMA synchronous=OFF",
            "/* never ends",
            "ALTER TABLE t ADD COLUMN off",
        ] {
            assert_eq!(Intent::of(sql), Intent::Other, "{sql}");
        }
    }
}
