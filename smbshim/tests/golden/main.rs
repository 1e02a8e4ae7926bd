//! Packets made by the original implementation, read and written again.

mod messages;
mod packets;
mod replies;
mod requests;
mod truncation;
mod vectors;
