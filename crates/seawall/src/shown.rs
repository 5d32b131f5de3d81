//! Makes text from outside safe to show: names of files, labels of lease holders, what servers say, URLs.
//!
//! Every user who can write the database's folder or its item chooses some of this text, and it ends up in logs,
//! terminals and web pages. Therefore all text for people goes through here when it leaves the engine: the texts of
//! [`crate::Error`] and of [`crate::ports::coordinator::CoordinatorError`] as a whole, and each foreign piece before it
//! becomes a part of one.

use std::fmt::{self, Write};
use std::ops::Deref;

/// A foreign piece is cut after this many characters. A server's refusal fits.
const PIECE: usize = 400;
/// A whole message is cut after this many characters.
const MESSAGE: usize = 2000;
/// Only this many bytes of a text are looked at.
const ROOM: usize = 1 << 16;
/// Stands for what was cut off, or must not be shown.
const CUT: char = '…';
/// The parameters of a coordinator's URL that hold no secret. The value of any other is hidden.
const OPEN_PARAMETERS: [&str; 2] = ["region", "endpoint"];
/// A parameter whose name has one of these in it holds a secret, in whatever URL it is.
const SECRETS: [&str; 8] = ["password", "passwd", "pwd", "secret", "token", "key", "signature", "credential"];

/// One line of bounded length, in which nothing commands a terminal, forges a line, turns the direction of what
/// follows, or reveals a password. Each character that is not printable is escaped. Text that went through here once
/// does not change when it goes through again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shown(String);

impl Shown {
    /// A foreign piece of a message.
    pub fn new(foreign: impl fmt::Display) -> Shown {
        Shown::cut(foreign, PIECE)
    }

    /// A whole message, which may have foreign pieces.
    pub fn message(text: impl fmt::Display) -> Shown {
        Shown::cut(text, MESSAGE)
    }

    /// A URL of a coordinator, without user and password, and without the values of unknown parameters.
    pub fn url(url: &str) -> Shown {
        let (place, parameters) = url.split_once('?').map_or((url, None), |(place, rest)| (place, Some(rest)));
        let mut shown = match place.rsplit_once('@') {
            // Without a scheme it is no URL, but it may have been meant as one.
            Some((_, host)) if !place.contains("://") => format!("{CUT}@{host}"),
            _ => place.to_owned(),
        };
        for (n, parameter) in parameters.into_iter().flat_map(|rest| rest.split('&')).enumerate() {
            shown.push(if n == 0 { '?' } else { '&' });
            match parameter.split_once('=') {
                Some((name, _)) if !OPEN_PARAMETERS.contains(&name) => shown.extend([name, "=…"]),
                _ => shown.push_str(parameter),
            }
        }
        Shown::new(shown)
    }

    fn cut(text: impl fmt::Display, limit: usize) -> Shown {
        let mut room = Room { text: String::new(), left: ROOM };
        // It fails when there is no room left, and then there is enough.
        let _ = write!(room, "{text}");
        let mut escaped = String::new();
        room.text.chars().for_each(|letter| escape(letter, &mut escaped));
        let mut shown = without_secrets(&escaped);
        if let Some((end, _)) = shown.char_indices().nth(limit) {
            shown.truncate(end);
            if !shown.ends_with(CUT) {
                shown.push(CUT);
            }
        }
        Shown(shown)
    }
}

impl Deref for Shown {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Shown> for String {
    fn from(shown: Shown) -> String {
        shown.0
    }
}

/// Takes text until it is full: a label of 390,000 bytes is not copied.
struct Room {
    text: String,
    left: usize,
}

impl Write for Room {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let fits = more.floor_char_boundary(self.left);
        self.text.push_str(&more[..fits]);
        self.left -= fits;
        if fits == more.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Rust's own notion of what can be printed: no controls, no formats (they turn the direction, or are invisible), no
/// strange spaces.
fn escape(letter: char, out: &mut String) {
    if matches!(letter, '\'' | '"' | '\\') || letter.is_alphanumeric() {
        out.push(letter);
    } else {
        // Behind another letter, so that an accent that stands alone is not taken for an escape.
        let mut pair = [b'a', 0, 0, 0, 0];
        let length = letter.encode_utf8(&mut pair[1..]).len();
        let pair = std::str::from_utf8(&pair[..=length]).expect("two letters");
        out.extend(pair.escape_debug().skip(1));
    }
}

/// `text` without what stands between `://` and `@`, and without the values of parameters that name a secret;
/// percent-encoded, too.
fn without_secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>')) {
        hide_values(&hide_user(word), &mut out);
    }
    out
}

fn hide_user(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    // After each `://`, up to the last `@` before the next one.
    while let Some((begin, length)) = first_of(rest, &["://", "%3a%2f%2f"]) {
        let (before, after) = rest.split_at(begin + length);
        out.push_str(before);
        let until = first_of(after, &["://", "%3a%2f%2f"]).map_or(after.len(), |(next, _)| next);
        let end = after[..until].to_ascii_lowercase();
        let user = end.rfind('@').into_iter().chain(end.rfind("%40")).max();
        // One that is hidden already stays as it is.
        rest = match user {
            Some(at) => {
                out.push(CUT);
                &after[at..]
            }
            None => after,
        };
    }
    out + rest
}

fn hide_values(word: &str, out: &mut String) {
    let mut rest = word;
    while let Some(begin) = rest.find(['?', '&', ';']) {
        let (before, after) = rest.split_at(begin + 1);
        out.push_str(before);
        rest = after;
        let end = after.find(['&', ';', '"', '\'', '>', '<']).unwrap_or(after.len());
        let end = after[..end].find(char::is_whitespace).unwrap_or(end);
        let Some((name, _)) = after[..end].split_once('=') else { continue };
        let lower = name.to_ascii_lowercase();
        if SECRETS.iter().any(|secret| lower.contains(secret)) {
            out.extend([name, "=…"]);
            rest = &after[end..];
        }
    }
    out.push_str(rest);
}

/// Where the first of `patterns` (in lower case) begins, and how long it is.
fn first_of(text: &str, patterns: &[&str]) -> Option<(usize, usize)> {
    let lower = text.to_ascii_lowercase();
    patterns.iter().filter_map(|pattern| Some((lower.find(pattern)?, pattern.len()))).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_commands_a_terminal_forges_a_line_or_turns_it() {
        let shown = Shown::new("a\u{1b}[31m\nb\u{202e}c \u{9b}d\re\u{2028}f\u{200b}g\u{e0041}h\0");
        assert_eq!(&*shown, r"a\u{1b}[31m\nb\u{202e}c \u{9b}d\re\u{2028}f\u{200b}g\u{e0041}h\0");
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        for text in
            ["été, \"日本\" it's C:\\x", "e\u{301}", "/srv/a b-c_d.sqlite3 — 5 %", "dynamodb://locks?region=eu-west-1"]
        {
            assert_eq!(&*Shown::new(text), text);
        }
    }

    #[test]
    fn it_is_bounded() {
        let long = "é".repeat(390_000);
        assert_eq!(Shown::new(&long).chars().count(), PIECE + 1);
        assert_eq!(Shown::message(&long).chars().count(), MESSAGE + 1);
        assert_eq!(Shown::new("é".repeat(PIECE)).chars().count(), PIECE);
    }

    #[test]
    fn passwords_are_not_shown() {
        for (text, shown) in [
            ("dynamodb://user:pass@locks: no", "dynamodb://…@locks: no"),
            ("(http://u:p@a:s?s@host/x)", "(http://…@host/x)"),
            ("x?endpoint=http://u:pass@host&region=r", "x?endpoint=http://…@host&region=r"),
            ("?endpoint=http%3A%2F%2Fu%3Apass%40host", "?endpoint=http%3A%2F%2F…%40host"),
            ("https://h/?X-Amz-Security-Token=pass&a=b", "https://h/?X-Amz-Security-Token=…&a=b"),
            (
                "https://h/?a=b&Password=pass \"https://h/?secret=pass\"",
                "https://h/?a=b&Password=… \"https://h/?secret=…\"",
            ),
            ("somebody@host and ://nothing", "somebody@host and ://nothing"),
        ] {
            assert_eq!(&*Shown::new(text), shown);
            assert_eq!(&*Shown::new(shown), shown);
        }
    }

    #[test]
    fn a_coordinator_s_url_tells_what_it_is_and_no_secret() {
        for (url, shown) in [
            ("dynamodb://locks?region=r&endpoint=http://h", "dynamodb://locks?region=r&endpoint=http://h"),
            ("dynamodb://u:pass@locks?pw=pass&region=r", "dynamodb://…@locks?pw=…&region=r"),
            ("user:pass@locks", "…@locks"),
            ("fs:", "fs:"),
        ] {
            assert_eq!(&*Shown::url(url), shown);
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_one_line_and_stays(text in any::<String>()) {
            let shown = Shown::new(&text);
            prop_assert!(!shown.chars().any(char::is_control) && shown.chars().count() <= PIECE + 1);
            prop_assert_eq!(&*Shown::message(&*shown), &*shown);
        }

        #[test]
        fn what_was_shown_stays(text in "(://|@|%40|%3A%2F%2F|[?&;=]|key|[a-b\\n\\u{a0}\" …]){0,40}") {
            let shown = Shown::new(&text);
            prop_assert_eq!(&*Shown::message(&*shown), &*shown);
        }

        #[test]
        fn no_password_passes(user in "[a-z]{1,5}", password in "[!-~&&[^\"'<>@]]{8,20}", encoded: bool) {
            let user = format!("{user}:{password}");
            // There it would seem to be two URLs, of which the second one's user is hidden.
            prop_assume!(!["://", "%3a%2f%2f"].iter().any(|sign| user.to_ascii_lowercase().contains(sign)));
            let at = if encoded { "%40" } else { "@" };
            let shown = Shown::new(format!("dynamodb://{user}{at}locks"));
            prop_assert_eq!(&*shown, format!("dynamodb://…{at}locks"));
        }
    }
}
