//! How far long work has come: a bar on standard error, with rate and time left. Where that is no terminal, nothing is
//! drawn.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// Redrawn so often while nothing is known to have come further.
const TICK: Duration = Duration::from_millis(120);

/// Work on so many bytes.
pub(crate) fn bytes(what: &'static str, all: u64) -> ProgressBar {
    let style = "{msg} {bar:32} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
    drawn(ProgressBar::new(all), style, what)
}

/// Work that does not say how much there is.
pub(crate) fn unknown(what: &'static str) -> ProgressBar {
    drawn(ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}", what)
}

fn drawn(bar: ProgressBar, style: &str, what: &'static str) -> ProgressBar {
    bar.set_style(ProgressStyle::with_template(style).expect("the template is right"));
    bar.set_message(what);
    bar.enable_steady_tick(TICK);
    bar
}
