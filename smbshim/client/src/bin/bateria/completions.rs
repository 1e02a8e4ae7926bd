//! `bateria completions`: what a shell needs to complete our commands.

use crate::{Bateria, Outcome};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print the completions for a shell
///
/// For bash: bateria completions bash > /usr/share/bash-completion/completions/bateria
#[derive(Args)]
pub(crate) struct CompletionsArguments {
    shell: Shell,
}

impl CompletionsArguments {
    pub(crate) fn run(self) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Bateria::command(), "bateria", &mut script);
        crate::standard_output::print_and_end(&String::from_utf8_lossy(&script))
    }
}
