//! The session against a model that only counts.

use bateria_smbshim::header::Header;
use bateria_smbshim::session::{Deregistered, Refusal, Registered, Session, Ticket};
use bateria_smbshim::{CallFlags, CallId, ReqCall};
use bateria_wire::{DbId, Srvid};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What a client and its daemon may do.
#[derive(Clone, Debug)]
enum Step {
    Register(u64),
    Deregister(u64),
    Call(u32),
    /// Answers the request begun as the n-th, whether it waits or not.
    Answer(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..5_u64).prop_map(Step::Register),
        (0..5_u64).prop_map(Step::Deregister),
        any::<u32>().prop_map(Step::Call),
        any::<prop::sample::Index>().prop_map(Step::Answer),
    ];
    vec(step, 0..200)
}

fn call(reqid: u32) -> ReqCall<'static> {
    ReqCall {
        header: Header::call(reqid),
        flags: CallFlags::empty(),
        db_id: DbId(1),
        call_id: CallId::FETCH,
        hop_count: 0,
        key: b"key",
        data: b"",
    }
}

proptest! {
    #[test]
    fn the_session_agrees_with_the_model(steps in steps()) {
        let mut session = Session::new(1);
        let mut registered: BTreeMap<u64, u32> = BTreeMap::new();
        let mut begun: Vec<(Ticket, u32)> = Vec::new();
        let mut waiting: BTreeMap<Ticket, u32> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Register(srvid) => {
                    let count = registered.entry(srvid).or_default();
                    *count += 1;
                    let want = if *count == 1 { Registered::First } else { Registered::Again };
                    prop_assert_eq!(session.register(Srvid(srvid)), Ok(want));
                }
                Step::Deregister(srvid) => {
                    let count = registered.entry(srvid).or_default();
                    let want = match *count {
                        0 => None,
                        1 => Some(Deregistered::Last),
                        _ => Some(Deregistered::OneOfSeveral),
                    };
                    *count = count.saturating_sub(1);
                    prop_assert_eq!(session.deregister(Srvid(srvid)), want);
                }
                Step::Call(reqid) => {
                    let ticket: Result<_, Refusal> = session.begin_call(&call(reqid));
                    let ticket = ticket.unwrap();
                    begun.push((ticket, reqid));
                    prop_assert_eq!(waiting.insert(ticket, reqid), None);
                }
                Step::Answer(index) if !begun.is_empty() => {
                    let (ticket, _) = *index.get(&begun);
                    let got = session.finish(ticket).map(|pending| pending.reqid);
                    prop_assert_eq!(got, waiting.remove(&ticket));
                }
                Step::Answer(_) => {}
            }
            prop_assert_eq!(session.requests_in_flight(), waiting.len());
            for (srvid, count) in &registered {
                prop_assert_eq!(session.copies_of(Srvid(*srvid)), *count);
            }
        }
        let undo = session.on_close();
        registered.retain(|_, count| *count > 0);
        let left: Vec<_> = registered.into_iter().map(|(id, count)| (Srvid(id), count)).collect();
        prop_assert_eq!(undo.srvids, left);
        let unanswered = undo.requests.iter().map(|(ticket, pending)| (*ticket, pending.reqid));
        prop_assert_eq!(unanswered.collect::<BTreeMap<_, _>>(), waiting);
    }
}
