//! `bateria man`: the manual pages, made from the same text as `--help`.

use crate::failure::Failure;
use crate::{Bateria, Ending, Outcome};
use clap::{Args, CommandFactory};
use std::path::PathBuf;

/// Write the manual pages into a directory
///
/// One page for each command: bateria.1, bateria-tdb.1, bateria-tdb-check.1 and so on.
#[derive(Args)]
pub(crate) struct ManArguments {
    /// Directory, made if it is missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl ManArguments {
    pub(crate) fn run(self) -> Outcome {
        let failed = |error| Failure::of_io(&self.directory, &error);
        std::fs::create_dir_all(&self.directory).map_err(failed)?;
        clap_mangen::generate_to(Bateria::command(), &self.directory).map_err(failed)?;
        Ok(Ending::Good)
    }
}
