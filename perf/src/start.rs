//! From the start of the daemons to a cluster that serves.

use std::time::{Duration, Instant};

use crate::Fault;
use crate::figures::Figures;
use crate::nodes::Nodes;

pub(crate) fn measure(nodes: &Nodes) -> Result<Figures, Fault> {
    let begin = Instant::now();
    for node in nodes.all() {
        nodes.start(node)?;
    }
    let starts = begin.elapsed();
    let from_last = nodes.wait_healthy(Duration::from_mins(1))?;
    let mut figures = Figures::default();
    figures.set("first_start_to_healthy_s", (starts + from_last).as_secs_f64());
    figures.set("last_start_to_healthy_s", from_last.as_secs_f64());
    Ok(figures)
}
