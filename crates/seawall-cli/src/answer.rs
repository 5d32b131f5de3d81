//! What a command answers, and how that is printed: rows for people, JSON for machines.

use crate::exit::Exit;
use anstyle::{AnsiColor, Style};
use seawall::{Error, ErrorKind, Shown};
use serde_json::{Map, Value};
use std::fmt::Display;
use std::io::Write;
use std::path::Path;

/// How a row is coloured on a terminal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
}

struct Row {
    label: &'static str,
    text: String,
    tone: Tone,
}

/// An answer: the same for people and as JSON.
pub(crate) struct Answer {
    rows: Vec<Row>,
    json: Map<String, Value>,
    /// The arguments of the command that a person would run next.
    next: Option<Vec<String>>,
    pub(crate) exit: Exit,
}

impl Answer {
    pub(crate) fn new() -> Answer {
        Answer { rows: Vec::new(), json: Map::new(), next: None, exit: Exit::Good }
    }

    /// A row for people. A row without a label goes on with the one before.
    pub(crate) fn row(&mut self, label: &'static str, text: impl Display) {
        self.toned(Tone::Plain, label, text);
    }

    pub(crate) fn toned(&mut self, tone: Tone, label: &'static str, text: impl Display) {
        self.rows.push(Row { label, text: Shown::message(text).to_string(), tone });
    }

    /// A field of the JSON.
    pub(crate) fn field(&mut self, name: &str, value: impl Into<Value>) {
        self.json.insert(name.into(), value.into());
    }

    /// The command to run next, by its arguments.
    pub(crate) fn next<const N: usize>(&mut self, arguments: [&str; N]) {
        self.next = Some(arguments.map(str::to_owned).to_vec());
    }

    /// Its fields, to be a part of another answer.
    pub(crate) fn into_json(self) -> Value {
        Value::Object(self.json)
    }

    pub(crate) fn print(self, command: &str, name: &Path, json: bool) -> Exit {
        let next = self.next.as_deref().map(next_line);
        if json {
            let mut whole = beginning(command, name, self.exit);
            whole.extend(self.json);
            whole.insert("next".into(), next.into());
            print(format_args!("{:#}", Value::Object(whole)));
            return self.exit;
        }
        let width = self.rows.iter().map(|row| row.label.len()).chain(["next".len()]).max().unwrap_or(0);
        for Row { label, text, tone } in &self.rows {
            let (label_style, style) = (Style::new().dimmed(), style_of(*tone));
            print(format_args!("{label_style}{label:width$}{label_style:#}  {style}{text}{style:#}"));
        }
        if let Some(next) = next {
            let style = Style::new().dimmed();
            print(format_args!("{style}{:width$}{style:#}  {next}", "next"));
        }
        self.exit
    }
}

/// Why a command gave no answer.
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    kind: Option<ErrorKind>,
    text: Shown,
}

impl Failure {
    /// The arguments are wrong.
    pub(crate) fn usage(text: impl Display) -> Failure {
        Failure { exit: Exit::Usage, kind: None, text: Shown::message(text) }
    }

    pub(crate) fn print(self, command: &str, name: &Path, json: bool) -> Exit {
        let name_text = name.to_string_lossy();
        let next = match self.exit {
            Exit::Usage => vec![command.to_owned(), "--help".into()],
            Exit::Busy | Exit::Partly => vec![command.to_owned(), name_text.into()],
            _ => vec!["doctor".into(), name_text.into()],
        };
        let next = next_line(&next);
        if json {
            let mut whole = beginning(command, name, self.exit);
            let kind = self.kind.map(|kind| format!("{kind:?}"));
            whole.insert("error".into(), serde_json::json!({ "kind": kind, "text": &*self.text }));
            whole.insert("next".into(), next.clone().into());
            print(format_args!("{:#}", Value::Object(whole)));
        }
        let (bad, plain) = (style_of(Tone::Bad), Style::new().dimmed());
        remark(format_args!("{bad}seawall {command}:{bad:#} {}", self.text));
        remark(format_args!("{plain}next:{plain:#} {next}"));
        self.exit
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { exit: error.kind().into(), kind: Some(error.kind()), text: Shown::message(error) }
    }
}

/// The fields that every answer begins with.
fn beginning(command: &str, name: &Path, exit: Exit) -> Map<String, Value> {
    let name = Value::from(&*Shown::new(name.to_string_lossy()));
    [("command", command.into()), ("name", name), ("exit", exit.code().into())]
        .map(|(field, value): (_, Value)| (field.to_owned(), value))
        .into_iter()
        .collect()
}

/// The command with these arguments, as a shell takes it.
fn next_line(arguments: &[String]) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_./:=@+,%".contains(letter);
    let quoted = |argument: &String| match !argument.is_empty() && argument.chars().all(is_plain) {
        true => argument.clone(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    };
    let line: Vec<String> = ["seawall".to_owned()].iter().chain(arguments).map(quoted).collect();
    Shown::message(line.join(" ")).to_string()
}

fn style_of(tone: Tone) -> Style {
    let colour = match tone {
        Tone::Plain => return Style::new(),
        Tone::Good => AnsiColor::Green,
        Tone::Warning => AnsiColor::Yellow,
        Tone::Bad => AnsiColor::Red,
    };
    Style::new().fg_color(Some(colour.into()))
}

/// Prints a line of the answer, in colour only on a terminal. A reader that closed the pipe does not get it, but the
/// exit code says the same.
fn print(line: impl Display) {
    let _ = writeln!(anstream::stdout(), "{line}");
}

/// Prints a line that is no part of the answer.
fn remark(line: impl Display) {
    let _ = writeln!(anstream::stderr(), "{line}");
}
