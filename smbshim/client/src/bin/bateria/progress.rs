//! How far a long command has come, on standard error.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Shows nothing for short runs, a bar on terminals, and with `--progress` a line every second
/// where there is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    what: String,
    unit: &'static str,
    mode: Mode,
    begin: Instant,
    shown: Option<Instant>,
    calls: u32,
    /// Done, of how many: what has not been shown yet.
    unseen: Option<(u64, Option<u64>)>,
}

#[derive(Debug)]
enum Mode {
    Silent,
    Lines,
    Bar(ProgressBar),
}

impl Progress {
    /// `what` is done to what: "checking a.tdb"; `unit` is counted: "records".
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, asked_for: bool) -> Self {
        let mode = if std::io::stderr().is_terminal() {
            Mode::Bar(ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()))
        } else if asked_for {
            Mode::Lines
        } else {
            Mode::Silent
        };
        let begin = Instant::now();
        Self { what: what.into(), unit, mode, begin, shown: None, calls: 0, unseen: None }
    }

    /// `total` is `None` where nobody knows it.
    pub(crate) fn at(&mut self, done: u64, total: Option<u64>) {
        // Called for every record: the clock is asked now and then only.
        self.calls = self.calls.wrapping_add(1);
        let is_end = total == Some(done);
        self.unseen = Some((done, total));
        if matches!(self.mode, Mode::Silent) || !(self.calls.is_multiple_of(64) || is_end) {
            return;
        }
        let now = Instant::now();
        match &self.mode {
            Mode::Silent => {}
            Mode::Lines => {
                if self.shown.is_none_or(|shown| now - shown >= LINES_INTERVAL || is_end) {
                    self.shown = Some(now);
                    self.print_line();
                }
            }
            Mode::Bar(bar) => {
                if now - self.begin < BAR_DELAY {
                    return;
                }
                if let Some(total) = total {
                    bar.set_length(total);
                }
                bar.set_position(done);
                if self.shown.is_none() {
                    self.shown = Some(now);
                    bar.set_style(style(total.is_some()));
                    bar.set_message(self.what.clone());
                    bar.set_prefix(self.unit);
                    // Last: what is drawn first is complete.
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                }
            }
        }
    }

    fn print_line(&mut self) {
        let (what, unit) = (&self.what, self.unit);
        match self.unseen.take() {
            Some((done, Some(total))) => eprintln!("{what}: {done} of {total} {unit}"),
            Some((done, None)) => eprintln!("{what}: {done} {unit}"),
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        match &self.mode {
            Mode::Silent => {}
            // However far it came: the last line is not from a second before the end.
            Mode::Lines => self.print_line(),
            Mode::Bar(bar) => bar.finish_and_clear(),
        }
    }
}

fn style(bounded: bool) -> ProgressStyle {
    let template = if bounded {
        "{msg} [{bar:30}] {human_pos}/{human_len} {prefix}, {eta} left"
    } else {
        "{msg} {spinner} {human_pos} {prefix} in {elapsed}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

const LINES_INTERVAL: Duration = Duration::from_secs(1);
const BAR_DELAY: Duration = Duration::from_millis(500);
