//! What must hold after every step, each rule in its own file with its source.

mod clients_keep_data;
mod contributors;
mod generations_grow;
mod harmless;
mod members_rebuilt;
mod one_leader;
mod one_side;
mod one_vote;
pub mod records;

use crate::truth::{Step, Truth};
use bateria_core::cluster::Quorum;

/// A rule about the whole cluster.
pub trait Invariant {
    /// The rule in a sentence.
    fn rule(&self) -> &'static str;

    /// Judges the state after a step.
    ///
    /// # Errors
    /// How the rule is broken.
    fn check(&mut self, truth: &Truth, step: &Step<'_>) -> Result<(), String>;
}

/// The rules that hold in a cluster with this kind of quorum.
#[must_use]
pub fn of(quorum: Quorum) -> Vec<Box<dyn Invariant>> {
    let contributors = contributors::Contributors::new(quorum != Quorum::None);
    let mut rules: Vec<Box<dyn Invariant>> = vec![
        Box::new(one_vote::OneVote::default()),
        Box::new(one_leader::OneLeader::default()),
        Box::new(generations_grow::GenerationsGrow { everywhere: quorum != Quorum::None }),
        Box::new(members_rebuilt::MembersRebuilt::default()),
        Box::new(contributors),
        Box::new(clients_keep_data::ClientsKeepData),
    ];
    // Without quorum both sides of a partition go on: it was asked for.
    if quorum != Quorum::None {
        rules.push(Box::new(one_side::OneSide));
        rules.push(Box::new(harmless::Harmless));
    }
    rules
}
