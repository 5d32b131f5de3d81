//! `seawall verify NAME`.

use crate::answer::{Answer, Failure, Tone};
use crate::exit::Exit;
use crate::target::{self, Target};
use crate::{progress, tables, units};
use clap::Args;
use seawall::{At, Finding, Options, Part, Progress, Shown, Verified, Verifying, Version};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

/// So many tables of a finding are named, and so many of its ranges of pages.
const NAMED: usize = 10;
/// Of so many damaged pages it is found out whose they are.
const OWNED: usize = 10_000;

#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    target: Target,
    /// Verify an older version: its number, or the newest at a time, as in "2026-12-24 18:00:00" (UTC), or so long ago, as in 2h.
    #[arg(long, value_name = "VERSION|TIME", value_parser = units::at)]
    at: Option<At>,
    /// Verify all of history as well, down to the oldest version that is promised or pinned, with all bases.
    #[arg(long)]
    deep: bool,
    /// Do one part of the work only, as in 3/7: the third of seven. Use --at, so that all parts are of one version.
    #[arg(long, value_name = "N/T")]
    part: Option<Part>,
}

impl Verify {
    pub(crate) const NAME: &'static str = "verify";

    pub(crate) fn run(&self, line: &[OsString]) -> Exit {
        match self.answer() {
            Ok(answer) => answer.print(Self::NAME, &self.target),
            Err(failure) => failure.print(Self::NAME, &self.target, line),
        }
    }

    fn answer(&self) -> Result<Answer, Failure> {
        let (path, options) = self.target.resolve()?;
        let coordinator = Some(options.coordinator);
        let part = self.part.unwrap_or(Part::ALL);
        let began = Instant::now();
        let bar = progress::bytes("verify", 0);
        let what = Verifying { deep: self.deep, part };
        let verified = verify(&path, coordinator, self.at, what, &mut |done, all| {
            bar.set_length(all);
            bar.set_position(done);
            Ok(())
        });
        bar.finish_and_clear();
        let (verified, findings) = verified?;
        let took = began.elapsed();
        let mut answer = Answer::new();
        let is_whole = findings.is_empty();
        answer.field("whole", is_whole);
        answer.field("version", verified.version);
        answer.field("time", (verified.time > 0).then(|| units::iso(verified.time)));
        answer.field("oldest", verified.oldest);
        answer.field("base", verified.base.clone());
        answer.field("deep", self.deep);
        answer.field("part", part.to_string());
        answer.field("commits", verified.commits);
        answer.field("pages", verified.pages);
        answer.field("bytes", verified.bytes);
        answer.field("seconds", took.as_secs_f64());
        answer.field("findings", findings.iter().map(in_json).collect::<Value>());
        answer.field("findings_left_out", verified.left_out);
        answer.field("not_pinned", verified.not_pinned.as_ref().map(|why| Value::from(&*Shown::message(why))));
        let what = if self.deep { "history up to version" } else { "version" };
        let of_part = if part == Part::ALL { String::new() } else { format!(", part {part} of the work") };
        let when = match (verified.version, verified.time) {
            (0, _) => ", the beginning".into(),
            // Its commit cannot be read.
            (_, 0) => String::new(),
            (_, time) => format!(", committed {}", units::time(time)),
        };
        let looked_at = format!("{what} {}{when}{of_part}", verified.version);
        match is_whole {
            true => answer.toned(Tone::Good, "whole", looked_at),
            false => answer.toned(Tone::Bad, "DAMAGED", looked_at),
        }
        let rate = units::bytes((verified.bytes as f64 / took.as_secs_f64().max(0.001)) as u64);
        let read = units::bytes(verified.bytes);
        answer.row(
            "checked",
            format!(
                "{} and {} are right ({read}, {rate}/s)",
                counted(verified.commits, "commit"),
                counted(verified.pages, "page")
            ),
        );
        if let Some(why) = &verified.not_pinned {
            let text =
                "the version was not pinned meanwhile, so a garbage collection may have deleted what was to be read";
            answer.toned(Tone::Warning, "note", format!("{text}: {why}"));
        }
        for Found { finding, tables } in &findings {
            let at = finding.at.map_or(String::new(), |at| format!(" at byte {at}"));
            answer.toned(Tone::Bad, finding.damage.name(), format!("{}{at}: {}", finding.file, finding.why));
            answer.row("", touched(finding, tables));
            answer.row("", format!("what to do: {}", finding.remedy));
        }
        if verified.left_out > 0 {
            answer.row("", format!("{} findings more are not listed", verified.left_out));
        }
        if is_whole {
            match part.next() {
                None if self.deep => answer.next("status", []),
                next => self.next(&mut answer, next, verified.version),
            }
        } else {
            answer.exit = Exit::Problem;
            answer.next("doctor", []);
        }
        Ok(answer)
    }
}

impl Verify {
    /// The next part of the same work, of the same version; or else all of history.
    fn next(&self, answer: &mut Answer, part: Option<Part>, version: u64) {
        answer.next("verify", []);
        if self.at.is_some() || part.is_some() {
            answer.next_with(format_args!("--at={version}"));
        }
        if self.deep || part.is_none() {
            answer.next_with("--deep");
        }
        if let Some(part) = part {
            answer.next_with(format_args!("--part={part}"));
        }
    }
}

/// A finding, and the tables and indexes that it touches.
pub struct Found {
    /// What is wrong.
    pub finding: Finding,
    /// The names, as far as they can be told.
    pub tables: Vec<String>,
}

/// Verifies the database at `name`, as [`seawall::verify`] does, and finds out which tables are touched. Without a coordinator it is the
/// one that the database is bound to.
pub fn verify(
    name: &Path,
    coordinator: Option<String>,
    at: Option<At>,
    what: Verifying,
    progress: Progress<'_>,
) -> seawall::Result<(Verified, Vec<Found>)> {
    let (name, options) = target::resolve(name, coordinator)?;
    let mut verified = seawall::verify(&name, &options, at, what, progress)?;
    let findings = std::mem::take(&mut verified.findings);
    let ranges = findings.iter().flat_map(|finding| finding.pages.iter().copied());
    let pages: BTreeSet<u32> = ranges.flat_map(|(first, last)| first..=last).take(OWNED).collect();
    let owners = if pages.is_empty() { BTreeMap::new() } else { owners(&name, &options, verified.version, &pages) };
    let with_tables = |finding: Finding| {
        let is_touched = |page: &u32| finding.pages.iter().any(|(first, last)| (first..=last).contains(&page));
        let named: BTreeSet<&String> =
            owners.iter().filter(|(page, _)| is_touched(page)).map(|(_, name)| name).collect();
        let tables = named.into_iter().map(|name| Shown::new(name).to_string()).collect();
        Found { finding, tables }
    };
    Ok((verified, findings.into_iter().map(with_tables).collect()))
}

/// Whose the pages are, if the version can be opened.
fn owners(name: &Path, options: &Options, version: u64, pages: &BTreeSet<u32>) -> BTreeMap<u32, String> {
    let opened = target::open(name, options.coordinator.clone());
    let placed = opened.and_then(|database| Ok((database.version_at(At::Version(Version(version)))?, database)));
    placed.map_or_else(|_| BTreeMap::new(), |(snapshot, database)| tables::names_of(&database, &snapshot, pages))
}

/// Which versions, pages and tables, for people.
fn touched(finding: &Finding, tables: &[String]) -> String {
    let plural = |one: &str, first: u64, last: u64| match first == last {
        true => format!("{one} {first}"),
        false => format!("{one}s {first} to {last}"),
    };
    let mut parts = Vec::new();
    parts.extend(finding.versions.map(|(first, last)| plural("version", first, last)));
    let ranges = finding.pages.iter().take(NAMED).map(|(first, last)| plural("page", (*first).into(), (*last).into()));
    parts.extend(ranges);
    if finding.pages.len() > NAMED {
        parts.push(format!("{} ranges of pages more", finding.pages.len() - NAMED));
    }
    if !tables.is_empty() {
        let more = if tables.len() > NAMED { format!(" and {} more", tables.len() - NAMED) } else { String::new() };
        parts.push(format!("of {}{more}", tables[..tables.len().min(NAMED)].join(", ")));
    }
    if parts.is_empty() { "it touches the database as a whole".into() } else { format!("touches {}", parts.join(", ")) }
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn in_json(found: &Found) -> Value {
    let Found { finding, tables } = found;
    json!({
        "damage": finding.damage.name(),
        "file": finding.file,
        "at": finding.at,
        "why": finding.why,
        "versions": finding.versions.map(|(first, last)| [first, last]),
        "pages": finding.pages.iter().map(|(first, last)| [*first, *last]).collect::<Vec<_>>(),
        "tables": tables,
        "remedy": finding.remedy,
    })
}
