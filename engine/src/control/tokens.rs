//! What a completion of the control thread's ring belongs to.

use bateria_ring::Token;
use bateria_wire::Pnn;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    ClientDoor,
    PeerDoor,
    Greeting,
    Signals,
    Stdin,
    LinkOut(Pnn),
    LinkIn(usize),
}

pub(crate) const CLIENT_DOOR: Token = Token(1 << KIND_SHIFT);
pub(crate) const PEER_DOOR: Token = Token(2 << KIND_SHIFT);
pub(crate) const GREETING: Token = Token(3 << KIND_SHIFT);
pub(crate) const SIGNALS: Token = Token(4 << KIND_SHIFT);
pub(crate) const STDIN: Token = Token(5 << KIND_SHIFT);

pub(crate) fn link_out(peer: Pnn) -> Token {
    Token(6 << KIND_SHIFT | u64::from(peer.0))
}

pub(crate) fn link_in(place: usize) -> Token {
    Token(7 << KIND_SHIFT | place as u64)
}

pub(crate) fn subject(token: Token) -> Subject {
    let number = token.0 & ((1 << KIND_SHIFT) - 1);
    match token.0 >> KIND_SHIFT {
        1 => Subject::ClientDoor,
        2 => Subject::PeerDoor,
        3 => Subject::Greeting,
        4 => Subject::Signals,
        5 => Subject::Stdin,
        6 => Subject::LinkOut(Pnn(u32::try_from(number).expect("made from a PNN"))),
        7 => Subject::LinkIn(usize::try_from(number).expect("56 bits")),
        kind => unreachable!("no token has the kind {kind}"),
    }
}

const KIND_SHIFT: u32 = 56;
