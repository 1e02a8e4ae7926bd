//! What a completion of the ring belongs to.
//!
//! ```text
//! bit 63..56  kind
//! bit 55..0   place in the kind's table, or a PNN
//! ```

use bateria_ring::Token;
use bateria_wire::Pnn;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Client(usize),
    LaneOut(Pnn),
    LaneIn(usize),
    ChainWait(usize),
}

pub(crate) fn client(place: usize) -> Token {
    Token(1 << KIND_SHIFT | place as u64)
}

pub(crate) fn lane_out(peer: Pnn) -> Token {
    Token(2 << KIND_SHIFT | u64::from(peer.0))
}

pub(crate) fn lane_in(place: usize) -> Token {
    Token(3 << KIND_SHIFT | place as u64)
}

pub(crate) fn chain_wait(place: usize) -> Token {
    Token(4 << KIND_SHIFT | place as u64)
}

pub(crate) fn subject(token: Token) -> Subject {
    let number = token.0 & ((1 << KIND_SHIFT) - 1);
    let place = usize::try_from(number).expect("56 bits");
    match token.0 >> KIND_SHIFT {
        1 => Subject::Client(place),
        2 => Subject::LaneOut(Pnn(u32::try_from(number).expect("made from a PNN"))),
        3 => Subject::LaneIn(place),
        4 => Subject::ChainWait(place),
        kind => unreachable!("no token has the kind {kind}"),
    }
}

const KIND_SHIFT: u32 = 56;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_their_subjects() {
        assert_eq!(subject(client(7)), Subject::Client(7));
        assert_eq!(subject(lane_out(Pnn(1023))), Subject::LaneOut(Pnn(1023)));
        assert_eq!(subject(lane_in(0)), Subject::LaneIn(0));
        assert_eq!(subject(chain_wait(9)), Subject::ChainWait(9));
    }
}
