//! Framing: where in the byte stream a packet ends (client protocol §1.2).
//!
//! Packets follow each other without a mark between them; the first word of each is its length.
//! Samba's are not padded, so a packet may begin at any byte.

use crate::fault::{Malformed, PacketFault};
use bateria_wire::limits::PACKET_SIZE_BYTES_MAX;

/// Length of the packet that begins with `prefix`, or `None` while its length is not there yet.
/// Lengths of 4 to 31 bytes are answered too: [`crate::Packet::parse`] then says what to do.
///
/// # Errors
/// The next packet cannot be found or is too long to be meant: close the connection. The original
/// stalls on lengths 1 to 3; stalling helps nobody, so they close too.
pub fn packet_length(prefix: &[u8]) -> Result<Option<usize>, PacketFault> {
    let Some(length) = prefix.first_chunk().map(|word| u32::from_ne_bytes(*word)) else {
        return Ok(None);
    };
    match length {
        0..4 => Err(PacketFault::Close(Malformed::LengthTooSmall(length))),
        4..=PACKET_SIZE_BYTES_MAX => Ok(Some(length as usize)),
        _ => Err(PacketFault::Close(Malformed::LengthTooLarge {
            length_bytes: length,
            max_bytes: PACKET_SIZE_BYTES_MAX,
        })),
    }
}

/// Splits the first packet off `received`, or leaves it untouched while the packet is incomplete.
///
/// # Errors
/// As [`packet_length`].
pub fn next_packet<'a>(received: &mut &'a [u8]) -> Result<Option<&'a [u8]>, PacketFault> {
    let Some(length) = packet_length(received)? else { return Ok(None) };
    let Some((packet, rest)) = received.split_at_checked(length) else { return Ok(None) };
    *received = rest;
    Ok(Some(packet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_known_with_its_fourth_byte() {
        assert_eq!(packet_length(&[60, 0, 0]), Ok(None));
        assert_eq!(packet_length(&[60, 0, 0, 0]), Ok(Some(60)));
        assert_eq!(packet_length(&[60, 0, 0, 0, 9]), Ok(Some(60)));
    }

    #[test]
    fn lengths_that_hide_the_next_packet_close() {
        for length in 0..4_u32 {
            let fault = packet_length(&length.to_ne_bytes()).unwrap_err();
            assert!(fault.closes_connection());
        }
        assert_eq!(packet_length(&4_u32.to_ne_bytes()), Ok(Some(4)));
    }

    #[test]
    fn a_length_above_the_limit_closes() {
        let limit = PACKET_SIZE_BYTES_MAX;
        assert_eq!(packet_length(&limit.to_ne_bytes()), Ok(Some(limit as usize)));
        assert!(packet_length(&(limit + 1).to_ne_bytes()).unwrap_err().closes_connection());
        assert!(packet_length(&[0xFF; 4]).unwrap_err().closes_connection());
    }

    #[test]
    fn several_packets_of_one_read_come_out_one_by_one() {
        let mut received: &[u8] = &[5, 0, 0, 0, 1, 4, 0, 0, 0, 6, 0, 0, 0, 1];
        assert_eq!(next_packet(&mut received), Ok(Some(&[5, 0, 0, 0, 1][..])));
        assert_eq!(next_packet(&mut received), Ok(Some(&[4, 0, 0, 0][..])));
        assert_eq!(next_packet(&mut received), Ok(None));
        assert_eq!(received, [6, 0, 0, 0, 1]);
    }
}
