//! What a command answers, and how that is printed: rows for people, JSON for machines.

use crate::exit::Exit;
use crate::target::Target;
use anstyle::{AnsiColor, Style};
use seawall::{Error, ErrorKind, Shown};
use serde_json::{Map, Value};
use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write;

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
    /// The command that a person would run next: its word, and its arguments after NAME.
    next: Option<(&'static str, Vec<String>)>,
    /// The coordinator that the database has now, if that is another one than before.
    moved_to: Option<String>,
    pub(crate) exit: Exit,
}

impl Answer {
    pub(crate) fn new() -> Answer {
        Answer { rows: Vec::new(), json: Map::new(), next: None, moved_to: None, exit: Exit::Good }
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

    /// The command to run next on the same database, and its arguments after NAME. It is printed so that it works as
    /// it is, with the coordinator where that has to be said.
    pub(crate) fn next<const N: usize>(&mut self, command: &'static str, arguments: [&str; N]) {
        self.next = Some((command, arguments.map(str::to_owned).to_vec()));
    }

    /// The next command has this argument, too.
    pub(crate) fn next_with(&mut self, argument: impl Display) {
        let (_, arguments) = self.next.as_mut().expect("there is a next command");
        arguments.push(argument.to_string());
    }

    /// The next command reaches the database by this coordinator.
    pub(crate) fn moved_to(&mut self, coordinator: &str) {
        self.moved_to = Some(coordinator.to_owned());
    }

    /// Its fields, to be a part of another answer.
    pub(crate) fn into_json(self) -> Value {
        Value::Object(self.json)
    }

    pub(crate) fn print(self, command: &str, target: &Target) -> Exit {
        let next = self.next.and_then(|(command, arguments)| on_target(command, arguments, target, self.moved_to));
        if target.json {
            let mut whole = beginning(Some(command), Some(target), self.exit);
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

    /// `line` is the whole command line, which may be worth running again.
    pub(crate) fn print(self, command: &str, target: &Target, line: &[OsString]) -> Exit {
        let next = match self.exit {
            Exit::Usage => help_of(command),
            Exit::Busy | Exit::Partly => again(line),
            _ => on_target("doctor", Vec::new(), target, None),
        };
        if target.json {
            self.print_json(Some(command), Some(target), next.clone());
        }
        let (bad, plain) = (style_of(Tone::Bad), Style::new().dimmed());
        remark(format_args!("{bad}seawall {command}:{bad:#} {}", self.text));
        if let Some(next) = next {
            remark(format_args!("{plain}next:{plain:#} {next}"));
        }
        self.exit
    }

    /// The JSON of wrong arguments, which name no database that could be relied on.
    pub(crate) fn print_usage_as_json(self, command: Option<&str>) {
        let next = command.map_or_else(|| shell_line(&["--help".into()]), help_of);
        self.print_json(command, None, next);
    }

    fn print_json(&self, command: Option<&str>, target: Option<&Target>, next: Option<String>) {
        let mut whole = beginning(command, target, self.exit);
        let kind = self.kind.map(|kind| format!("{kind:?}"));
        whole.insert("error".into(), serde_json::json!({ "kind": kind, "text": &*self.text }));
        whole.insert("next".into(), next.into());
        print(format_args!("{:#}", Value::Object(whole)));
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { exit: error.kind().into(), kind: Some(error.kind()), text: Shown::message(error) }
    }
}

/// The fields that every answer begins with.
fn beginning(command: Option<&str>, target: Option<&Target>, exit: Exit) -> Map<String, Value> {
    let name = target.map(|target| Value::from(&*Shown::new(target.path().to_string_lossy()))).into();
    [("command", command.into()), ("name", name), ("exit", exit.code().into())]
        .map(|(field, value): (_, Value)| (field.to_owned(), value))
        .into_iter()
        .collect()
}

/// The command on this database, with the coordinator that the user named where it would not be known otherwise.
/// Nothing, if NAME cannot be written on one line of text.
fn on_target(command: &str, arguments: Vec<String>, target: &Target, moved_to: Option<String>) -> Option<String> {
    let name = target.path().to_str()?.to_owned();
    let mut line = vec![command.to_owned(), name];
    line.extend(arguments);
    if let Some(coordinator) = target.coordinator_to_name(moved_to) {
        line.extend(["--coordinator".into(), coordinator]);
    }
    shell_line(&line)
}

fn help_of(command: &str) -> Option<String> {
    shell_line(&[command.to_owned(), "--help".into()])
}

/// This command line, for the shell.
fn again(line: &[OsString]) -> Option<String> {
    let arguments: Option<Vec<String>> = line.iter().skip(1).map(|argument| Some(argument.to_str()?.into())).collect();
    shell_line(&arguments?)
}

/// The command with these arguments, as a shell takes it. Nothing, if it would have to be shown otherwise than it is:
/// it has what commands a terminal, or a password.
fn shell_line(arguments: &[String]) -> Option<String> {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_./:=@+,%".contains(letter);
    let quoted = |argument: &String| match !argument.is_empty() && argument.chars().all(is_plain) {
        true => argument.clone(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    };
    let line: Vec<String> = ["seawall".to_owned()].iter().chain(arguments).map(quoted).collect();
    let line = line.join(" ");
    (*Shown::message(&line) == *line).then_some(line)
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
