//! A daemon that does what it is told.

use bateria_client::Connection;
use bateria_smbshim::header::Header;
use bateria_smbshim::{ControlReply, framer};
use bateria_wire::{Generation, Pnn};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A running script, whose daemon answers GET_PNN to the first connection and then follows it.
pub(crate) struct Script {
    folder: PathBuf,
    player: Option<JoinHandle<()>>,
}

/// The daemon's end of the connection.
pub(crate) struct Seat(UnixStream);

impl Script {
    pub(crate) fn play(script: impl FnOnce(&mut Seat) + Send + 'static) -> Self {
        static PLAYED: AtomicU32 = AtomicU32::new(0);
        let number = PLAYED.fetch_add(1, Ordering::Relaxed);
        let name = format!("bateria-script-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a folder of its own");
        let listener = UnixListener::bind(folder.join("socket")).expect("a socket in it");
        let player = std::thread::spawn(move || {
            let (socket, _) = listener.accept().expect("the test connects");
            socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
            let mut seat = Seat(socket);
            seat.answer_get_pnn();
            script(&mut seat);
        });
        Self { folder, player: Some(player) }
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::connect(&self.folder.join("socket")).expect("the script is playing")
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let played = self.player.take().map(JoinHandle::join);
        let _ = fs::remove_dir_all(&self.folder);
        // A test that failed already has said enough.
        assert!(std::thread::panicking() || matches!(played, Some(Ok(()))), "the script is played");
    }
}

impl Seat {
    /// Receives one packet.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        let mut packet = vec![0; 4];
        self.0.read_exact(&mut packet).expect("the client sends a packet");
        let length = framer::packet_length(&packet).expect("a length").expect("four bytes");
        packet.resize(length, 0);
        self.0.read_exact(&mut packet[4..]).expect("the client sends the whole packet");
        packet
    }

    /// Receives one packet and returns its request id.
    pub(crate) fn receive_reqid(&mut self) -> u32 {
        let packet = self.receive();
        let (_, header, _) = Header::parse(&packet).expect("a packet");
        header.reqid
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the client reads");
    }

    pub(crate) fn answer_get_pnn(&mut self) {
        let reqid = self.receive_reqid();
        let mut out = Vec::new();
        ControlReply::value(3).encode(&Header::to_client(Generation(2), Pnn(3), reqid), &mut out);
        self.send(&out);
    }
}
