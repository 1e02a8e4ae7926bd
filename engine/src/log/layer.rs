//! From the events of `tracing` to lines in the queue.

use super::LogLevel;
use super::flood::{Flood, Verdict, WINDOW};
use super::line::{self, Line, PROGRAM, Style};
use super::sink::Sink;
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Renders each event in the thread that logs it, which stamps it with the time it happened.
pub(super) struct LineLayer {
    queue: NonBlocking,
    style: Style,
    sink: Arc<Sink>,
    flood: Flood,
}

impl LineLayer {
    pub(super) fn new(queue: NonBlocking, style: Style, sink: Arc<Sink>) -> Self {
        Self { queue, style, sink, flood: Flood::default() }
    }
}

impl<S: Subscriber> Layer<S> for LineLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        let verdict = if *metadata.level() <= Level::WARN {
            self.flood.judge(metadata.callsite(), Instant::now())
        } else {
            Verdict::Log { omitted_count: 0 }
        };
        if verdict == Verdict::Omit {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        text.tell(verdict);
        let target = metadata.target();
        let line = Line {
            level: LogLevel::of_event(*metadata.level()),
            program: if target.starts_with("ctdb-") { target } else { PROGRAM },
            text: text.finish(),
        };
        let mut queue = self.queue.clone();
        // A full queue drops the line and counts it.
        self.style.render(&line, |message| {
            self.sink.count_queued();
            let _ = queue.write(message);
        });
    }
}

/// The message of an event, and its further fields as `name=value` behind it.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    /// Says what is missing around this line.
    fn tell(&mut self, verdict: Verdict) {
        // Writing into a string does not fail.
        let _ = match verdict {
            Verdict::Log { omitted_count: 0 } | Verdict::Omit => Ok(()),
            Verdict::Log { omitted_count } => {
                write!(self.fields, " [{omitted_count} lines like this were left out before]")
            }
            Verdict::LogAsLast => {
                write!(
                    self.fields,
                    " [more like this are left out for up to {} s]",
                    WINDOW.as_secs()
                )
            }
        };
    }

    fn finish(&mut self) -> Cow<'_, str> {
        self.message.push_str(&self.fields);
        line::printable(&self.message)
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
