//! What every cluster daemon must do for its clients, stock ctdbd and bateriad alike.
//!
//! Runs against the cluster whose sockets `BATERIA_TEST_SOCKETS` names, node 0 first, separated by
//! colons; without it there is nothing to test and every test passes. The cluster must be healthy
//! and the tests must run on its host as its user, since they open the databases' files. They make
//! databases of their own and leave them empty.
//!
//! `BATERIA_TEST_DAEMON=bateria` adds what only bateriad must do: survive packets that kill the
//! original, answer where the original is silent, and serve the controls of Samba 4.25.
#![expect(clippy::unwrap_used, reason = "what a test calls is part of the test")]

mod addresses;
mod attach;
mod cluster;
mod controls;
mod hostile;
mod messages;
mod persistent;
mod processes;
mod push;
mod read_only;
mod records;
mod restore;
mod transport;
mod traverse;
