//! The tool `bateria tdb` on real files, beside the original tools (packages tdb-tools, libtdb1).

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod checks;
mod damage;
mod databases;
mod interchange;
mod interruption;
mod json;
mod manners;
mod program;
mod refusals;
mod torture;
