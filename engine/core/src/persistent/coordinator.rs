//! Which copy a generation begins with: the part of its first member.

use crate::persistent::Contents;
use crate::persistent::configuration::Configuration;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bateria_wire::{DbKind, Pnn};

/// Collects what every member's copy holds and has the newest one distributed to those that
/// differ, until all are equal.
#[derive(Debug, Default)]
pub(super) struct Coordinator {
    /// `None` for a member without a readable copy.
    reports: BTreeMap<Pnn, Option<Contents>>,
    distribution: Option<Distribution>,
    /// Members that cannot write a copy.
    failed: Vec<Pnn>,
    outsiders_are_out: bool,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Somebody's answer is missing.
    Wait,
    Distribute {
        source: Pnn,
        targets: Vec<Pnn>,
    },
    /// All copies are equal; without those that failed, if not `whole`.
    Settled {
        whole: bool,
    },
}

#[derive(Debug)]
struct Distribution {
    source: Pnn,
    contents: Contents,
    waiting: Vec<Pnn>,
}

impl Coordinator {
    /// A member's copy was digested, or cannot be read.
    pub(super) fn report(&mut self, from: Pnn, contents: Option<Contents>) {
        if self.distribution.is_none() {
            self.reports.insert(from, contents);
        }
    }

    /// Whether the copies are being replaced by that of `node`.
    pub(super) fn distributes(&self, node: Pnn) -> bool {
        self.distribution.as_ref().is_some_and(|distribution| distribution.source == node)
    }

    /// A member has replaced its copy, or cannot.
    pub(super) fn filled(&mut self, from: Pnn, done: bool) {
        let Some(distribution) = &mut self.distribution else { return };
        let Some(index) = distribution.waiting.iter().position(|waiting| *waiting == from) else {
            return;
        };
        distribution.waiting.swap_remove(index);
        self.reports.insert(from, done.then_some(distribution.contents));
        if !done {
            self.failed.push(from);
        }
    }

    /// Judges what is known so far.
    pub(super) fn decide(&mut self, configuration: &Configuration, kind: DbKind) -> Verdict {
        let is_missing = |member: &Pnn| !self.reports.contains_key(member);
        if configuration.members.iter().any(is_missing) {
            return Verdict::Wait;
        }
        if self.distribution.as_ref().is_some_and(|distribution| !distribution.waiting.is_empty()) {
            return Verdict::Wait;
        }
        self.leave_outsiders_out(configuration, kind);
        let Some((source, contents)) = self.newest(configuration) else {
            return Verdict::Settled { whole: false };
        };
        let differs = |member: &Pnn| {
            !self.reports[member].is_some_and(|other| other.same_records(&contents))
                && !self.failed.contains(member)
        };
        let targets: Vec<Pnn> = configuration.members.iter().copied().filter(differs).collect();
        if targets.is_empty() {
            return Verdict::Settled { whole: self.failed.is_empty() };
        }
        self.distribution = Some(Distribution { source, contents, waiting: targets.clone() });
        Verdict::Distribute { source, targets }
    }

    /// A member that the others wait for.
    pub(super) fn silent_member(&self, configuration: &Configuration) -> Option<Pnn> {
        let unreported =
            configuration.members.iter().find(|member| !self.reports.contains_key(member)).copied();
        let unfilled = || self.distribution.as_ref()?.waiting.first().copied();
        unreported.or_else(unfilled)
    }

    /// A replicated copy lives as long as one active node keeps running (database semantics §4.1).
    /// A node that was away, or has just started, has no say while such a node is there; if there
    /// is none, its copy is better than nothing.
    fn leave_outsiders_out(&mut self, configuration: &Configuration, kind: DbKind) {
        if core::mem::replace(&mut self.outsiders_are_out, true) || kind != DbKind::Replicated {
            return;
        }
        let contributes = |member: &Pnn| configuration.contributors.contains(member);
        let counts =
            |(member, report): (&Pnn, &Option<Contents>)| contributes(member) && report.is_some();
        if self.reports.iter().any(counts) {
            self.reports
                .iter_mut()
                .filter(|(member, _)| !contributes(member))
                .for_each(|(_, report)| *report = None);
        }
    }

    /// Among equals the first member's copy.
    fn newest(&self, configuration: &Configuration) -> Option<(Pnn, Contents)> {
        let mut newest: Option<(Pnn, Contents)> = None;
        for member in &configuration.members {
            let Some(contents) = self.reports[member] else { continue };
            if newest.is_none_or(|(_, best)| contents.is_newer(&best)) {
                newest = Some((*member, contents));
            }
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use bateria_wire::Generation;

    const NODES: [Pnn; 3] = [Pnn(0), Pnn(1), Pnn(2)];

    fn configuration(contributors: &[Pnn]) -> Configuration {
        Configuration {
            generation: Generation::first_of(1),
            members: NODES.to_vec(),
            contributors: contributors.to_vec(),
            ..Configuration::none(Pnn(0))
        }
    }

    fn copy(sequence_number: u64, digest: u64) -> Contents {
        Contents { sequence_number, digest, updated_in: Generation::INVALID }
    }

    fn with_reports(reports: [Option<Contents>; 3]) -> Coordinator {
        let mut coordinator = Coordinator::default();
        NODES.iter().zip(reports).for_each(|(node, report)| coordinator.report(*node, report));
        coordinator
    }

    #[test]
    fn equal_copies_need_no_traffic() {
        let mut coordinator = Coordinator::default();
        coordinator.report(Pnn(0), Some(copy(5, 1)));
        coordinator.report(Pnn(2), Some(copy(5, 1)));
        let configuration = configuration(&NODES);
        assert_eq!(coordinator.decide(&configuration, DbKind::Persistent), Verdict::Wait);
        assert_eq!(coordinator.silent_member(&configuration), Some(Pnn(1)));
        coordinator.report(Pnn(1), Some(copy(5, 1)));
        let verdict = coordinator.decide(&configuration, DbKind::Persistent);
        assert_eq!(verdict, Verdict::Settled { whole: true });
    }

    /// Scenario 36: sequence numbers 5, 7, 7.
    #[test]
    fn the_first_of_the_highest_numbers_goes_to_all_that_differ() {
        let mut coordinator = with_reports([Some(copy(5, 1)), Some(copy(7, 2)), Some(copy(7, 3))]);
        let configuration = configuration(&NODES);
        let verdict = coordinator.decide(&configuration, DbKind::Persistent);
        let targets = vec![Pnn(0), Pnn(2)];
        assert_eq!(verdict, Verdict::Distribute { source: Pnn(1), targets });
        coordinator.filled(Pnn(0), true);
        assert_eq!(coordinator.decide(&configuration, DbKind::Persistent), Verdict::Wait);
        coordinator.filled(Pnn(2), true);
        let verdict = coordinator.decide(&configuration, DbKind::Persistent);
        assert_eq!(verdict, Verdict::Settled { whole: true });
    }

    #[test]
    fn a_node_without_a_readable_copy_is_filled() {
        let mut coordinator = with_reports([None, Some(copy(0, 0)), Some(copy(0, 0))]);
        let verdict = coordinator.decide(&configuration(&[]), DbKind::Persistent);
        assert_eq!(verdict, Verdict::Distribute { source: Pnn(1), targets: vec![Pnn(0)] });
    }

    #[test]
    fn a_node_that_cannot_be_filled_does_not_hold_up_the_others() {
        let mut coordinator = with_reports([Some(copy(7, 1)), Some(copy(5, 2)), Some(copy(7, 1))]);
        let configuration = configuration(&NODES);
        coordinator.decide(&configuration, DbKind::Persistent);
        coordinator.filled(Pnn(1), false);
        let verdict = coordinator.decide(&configuration, DbKind::Persistent);
        assert_eq!(verdict, Verdict::Settled { whole: false });
    }

    #[test]
    fn nobody_with_a_copy_means_not_whole() {
        let mut coordinator = with_reports([None, None, None]);
        let verdict = coordinator.decide(&configuration(&NODES), DbKind::Persistent);
        assert_eq!(verdict, Verdict::Settled { whole: false });
    }

    #[test]
    fn a_replicated_copy_of_a_fresh_node_loses_against_any_contributor() {
        let mut coordinator = with_reports([Some(copy(9, 1)), Some(copy(3, 2)), Some(copy(3, 2))]);
        let configuration = configuration(&[Pnn(1), Pnn(2)]);
        let verdict = coordinator.decide(&configuration, DbKind::Replicated);
        assert_eq!(verdict, Verdict::Distribute { source: Pnn(1), targets: vec![Pnn(0)] });
        coordinator.filled(Pnn(0), true);
        let verdict = coordinator.decide(&configuration, DbKind::Replicated);
        assert_eq!(verdict, Verdict::Settled { whole: true });
    }

    #[test]
    fn a_persistent_copy_of_a_fresh_node_takes_part() {
        let mut coordinator = with_reports([Some(copy(9, 1)), Some(copy(3, 2)), Some(copy(3, 2))]);
        let verdict = coordinator.decide(&configuration(&[Pnn(1), Pnn(2)]), DbKind::Persistent);
        let targets = vec![Pnn(1), Pnn(2)];
        assert_eq!(verdict, Verdict::Distribute { source: Pnn(0), targets });
    }

    #[test]
    fn without_any_contributor_replicated_copies_count_like_persistent_ones() {
        let mut coordinator = with_reports([Some(copy(0, 1)), Some(copy(3, 2)), Some(copy(3, 2))]);
        let verdict = coordinator.decide(&configuration(&[]), DbKind::Replicated);
        assert_eq!(verdict, Verdict::Distribute { source: Pnn(1), targets: vec![Pnn(0)] });
    }
}
