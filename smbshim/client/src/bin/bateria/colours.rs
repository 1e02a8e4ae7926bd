//! Colours, on terminals only and never against the user's will.

use std::io::IsTerminal;

/// Paints text for one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Colours {
    on: bool,
}

/// What a piece of text is, not what it looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    Good,
    Bad,
    Hint,
}

impl Colours {
    pub(crate) fn of_stdout() -> Self {
        Self { on: std::io::stdout().is_terminal() && wanted() }
    }

    pub(crate) fn of_stderr() -> Self {
        Self { on: std::io::stderr().is_terminal() && wanted() }
    }

    pub(crate) fn paint(self, role: Role, text: &str) -> String {
        let code = match role {
            Role::Good => "32",
            Role::Bad => "1;31",
            Role::Hint => "1;36",
        };
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// <https://no-color.org>, and terminals that say that they cannot.
fn wanted() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_text_stays_as_it_is() {
        assert_eq!(Colours { on: false }.paint(Role::Bad, "damaged"), "damaged");
        assert_eq!(Colours { on: true }.paint(Role::Bad, "damaged"), "\x1b[1;31mdamaged\x1b[0m");
    }
}
