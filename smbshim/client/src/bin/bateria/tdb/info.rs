//! `bateria tdb info`: what a file consists of, as `tdbtool info` says, and what its header says.

use crate::failure::Failure;
use crate::tdb::Manner;
use crate::tdb::opening::{Locking, lock_for_reading, open_to_read};
use crate::{Ending, Outcome, standard_output};
use bateria_tdb::{HashKind, HeaderFacts, Summary, Tally};
use clap::Args;
use serde::Serialize;
use std::fmt::Write;
use std::fs::File;
use std::path::PathBuf;

/// Show what a database consists of, as tdbtool's info does, and what its header says
#[derive(Args)]
pub(crate) struct InfoArguments {
    /// Database
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Read without locks and change nothing
    #[arg(short = 'l', long)]
    no_lock: bool,
}

/// As `--json` prints it; sizes are in bytes.
#[derive(Serialize)]
struct Info {
    file: String,
    file_size: u64,
    header: Header,
    /// Bytes of keys and data of live records.
    content_size: u64,
    keys: Figures,
    data: Figures,
    padding: Figures,
    dead: Figures,
    free: Figures,
    /// Records per chain; `count` is the number of chains.
    chains: Figures,
    uncoalesced: Figures,
}

#[derive(Serialize)]
struct Header {
    byte_order: &'static str,
    hash: &'static str,
    hash_size: u32,
    magic1_hash: u32,
    magic2_hash: u32,
    rwlocks: u32,
    mutexes: bool,
    mutex_area_size: u32,
    recovery_area: u32,
    sequence_number: u32,
    logical_size: u32,
}

/// Of sizes, or of counts.
#[derive(Serialize)]
struct Figures {
    count: u64,
    total: u64,
    smallest: u64,
    average: u64,
    largest: u64,
}

impl InfoArguments {
    pub(crate) fn run(self, manner: Manner) -> Outcome {
        let mut tdb = open_to_read(&self.file, Locking::from_flag(self.no_lock))?;
        if !self.no_lock {
            lock_for_reading(&mut tdb, &self.file)?;
        }
        let summary = tdb.summary().map_err(|error| Failure::of_tdb(&self.file, error))?;
        let facts = File::open(&self.file)
            .and_then(|file| HeaderFacts::read(&file))
            .map_err(|error| Failure::of_io(&self.file, &error))?;
        if manner.json {
            standard_output::print_json(&self.info(&summary, &facts))?;
        } else {
            standard_output::print(&text(&summary, &facts))?;
        }
        Ok(Ending::Good)
    }

    fn info(&self, summary: &Summary, facts: &HeaderFacts) -> Info {
        Info {
            file: self.file.display().to_string(),
            file_size: summary.header_offset + u64::from(summary.size_bytes),
            header: Header {
                byte_order: byte_order(facts),
                hash: hash(facts),
                hash_size: facts.hash_size,
                magic1_hash: facts.magic1_hash,
                magic2_hash: facts.magic2_hash,
                rwlocks: facts.rwlocks,
                mutexes: facts.mutexes,
                mutex_area_size: facts.mutex_size,
                recovery_area: facts.recovery_start,
                sequence_number: facts.sequence_number,
                logical_size: summary.size_bytes,
            },
            content_size: summary.keys.total + summary.data.total,
            keys: Figures::new(summary.keys),
            data: Figures::new(summary.data),
            padding: Figures::new(summary.padding),
            dead: Figures::new(summary.dead),
            free: Figures::new(summary.free),
            chains: Figures::new(summary.chains),
            uncoalesced: Figures::new(summary.uncoalesced),
        }
    }
}

impl Figures {
    fn new(tally: Tally) -> Self {
        Self {
            count: tally.count,
            total: tally.total,
            smallest: tally.min,
            average: tally.average(),
            largest: tally.max,
        }
    }
}

/// First what tdbtool prints, line by line; then the header.
fn text(summary: &Summary, facts: &HeaderFacts) -> String {
    let mut text = summary.to_string();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let recovery = match facts.recovery_start {
        0 => "none".to_owned(),
        offset => format!("0x{offset:08x}"),
    };
    let _ = writeln!(text, "Byte order: {}", byte_order(facts));
    let _ = writeln!(text, "Hash function: {}", hash(facts));
    let _ = writeln!(
        text,
        "Hash fingerprints: 0x{:08x} 0x{:08x}",
        facts.magic1_hash, facts.magic2_hash
    );
    let _ = writeln!(text, "Compatibility word: 0x{:08x}", facts.rwlocks);
    let _ = writeln!(text, "Mutex area: {} bytes", facts.mutex_size);
    let _ = writeln!(text, "Recovery area: {recovery}");
    let _ = writeln!(text, "Sequence number: {}", facts.sequence_number);
    text
}

fn byte_order(facts: &HeaderFacts) -> &'static str {
    if facts.big_endian { "big-endian" } else { "little-endian" }
}

fn hash(facts: &HeaderFacts) -> &'static str {
    match facts.hash {
        HashKind::Old => "old",
        HashKind::Jenkins => "jenkins",
    }
}
