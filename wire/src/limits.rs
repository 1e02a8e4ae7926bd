//! Limits that both ends of a link keep. Reaching one has a written answer beside its user.

/// Nodes of a cluster; above it a nodes file is refused.
pub const NODES_COUNT_MAX: u32 = 1024;
/// A record's key. Samba's longest are a few hundred bytes; longer ones are refused to the client.
pub const KEY_SIZE_BYTES_MAX: u32 = 64 * 1024;
/// A record's value without its header.
pub const DATA_SIZE_BYTES_MAX: u32 = 128 * 1024 * 1024;
/// A database's name with its NUL; file names end there too.
pub const DB_NAME_SIZE_BYTES_MAX: u32 = 256;
/// A packet on the client socket (client protocol §1.2: cap only at 256 MiB or more).
pub const PACKET_SIZE_BYTES_MAX: u32 = 256 * 1024 * 1024;
