//! Structures that controls and messages carry (client protocol §4).
//!
//! Each stands as its drawing: field behind offset, gaps are padding. Lists are `Vec`s of them.

pub mod address;
pub mod database;
pub mod db_statistics;
pub mod identity;
pub mod node;
pub mod notify;
pub mod push;
pub mod statistics;
pub mod traverse;
pub mod tunable;
