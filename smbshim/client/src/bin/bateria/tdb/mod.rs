//! `bateria tdb`: work on TDB files, beside the processes that use them.

mod backup;
mod check;
mod dump;
mod info;
mod list;
mod new_file;
mod opening;
mod patience;
mod repack;
mod rescue;
mod restore;
mod torture;
mod verify;

use crate::failure::Failure;
use crate::progress::Progress;
use crate::{Outcome, interrupt};
use clap::{Args, Subcommand};

/// Check, dump, restore, back up, repair and torture TDB files
///
/// The files may be in use: all commands lock as libtdb does. Exit codes: 0 for success; 1 when the
/// work failed or the file is damaged; 2 for a wrong command line or a file that cannot be opened.
#[derive(Args)]
pub(crate) struct TdbArguments {
    #[command(subcommand)]
    command: Command,
    /// Print facts as JSON, one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Show progress on standard error even if that is no terminal
    #[arg(long, global = true)]
    progress: bool,
}

#[derive(Subcommand)]
enum Command {
    Check(check::CheckArguments),
    Dump(dump::DumpArguments),
    Restore(restore::RestoreArguments),
    Backup(backup::BackupArguments),
    Info(info::InfoArguments),
    List(list::ListArguments),
    Repack(repack::RepackArguments),
    Rescue(rescue::RescueArguments),
    Torture(torture::TortureArguments),
    #[command(hide = true)]
    TortureWorker(torture::WorkerArguments),
}

/// How a command talks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) json: bool,
    progress: bool,
}

impl Manner {
    pub(crate) fn progress(self, what: impl Into<String>, unit: &'static str) -> Progress {
        Progress::new(what, unit, self.progress)
    }
}

impl TdbArguments {
    pub(crate) fn run(self) -> Outcome {
        // A file that another process truncates is an error of that file, not our death.
        bateria_tdb::survive_truncation()
            .map_err(|error| Failure::new(format!("cannot handle SIGBUS: {error}")))?;
        if let Command::TortureWorker(arguments) = self.command {
            // Workers die by whatever hits them: that is their job.
            return arguments.run();
        }
        interrupt::watch()
            .map_err(|error| Failure::new(format!("cannot handle signals: {error}")))?;
        let manner = Manner { json: self.json, progress: self.progress };
        match self.command {
            Command::Check(arguments) => arguments.run(manner),
            Command::Dump(arguments) => arguments.run(manner),
            Command::Restore(arguments) => arguments.run(manner),
            Command::Backup(arguments) => arguments.run(manner),
            Command::Info(arguments) => arguments.run(manner),
            Command::List(arguments) => arguments.run(manner),
            Command::Repack(arguments) => arguments.run(manner),
            Command::Rescue(arguments) => arguments.run(manner),
            Command::Torture(arguments) => arguments.run(manner),
            Command::TortureWorker(_) => unreachable!("has run above"),
        }
    }
}
