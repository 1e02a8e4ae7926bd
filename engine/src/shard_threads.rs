//! The shards' threads: each makes its ring and its shard, then all are told of each other.

use crate::blocking::BlockingPool;
use crate::cpus::{self, ShardLayout};
use crate::daemon::MAILBOX_CAPACITY;
use crate::mail::{ControlMail, ShardMail};
use crate::outbox::Outbox;
use crate::shard::Shard;
use crate::shard::chain_waits::ChainWaits;
use crate::shard::disk_jobs::DiskJobs;
use crate::shard::frames::Unattached;
use crate::shard::io::Io;
use crate::shard::lanes::Lanes;
use crate::shard::moves::Moves;
use crate::shard::pushes::Pushes;
use crate::shard::relays::Relays;
use crate::shard::seqnum::SequenceNumbers;
use crate::shard::store::Store;
use crate::shard::walks::Walks;
use crate::shared::Shared;
use bateria_core::persistent::{self, Persistent};
use bateria_core::record::{self, Records};
use bateria_ring::mailbox::{self, MailboxReceiver, MailboxSender};
use bateria_ring::{Doorbell, Ring, RingConfig};
use bateria_wire::{Generation, Pnn};
use slab::Slab;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

/// What every shard is made of.
#[derive(Clone)]
pub(crate) struct ShardPlan {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lock_pool: Arc<BlockingPool>,
    pub(crate) disk_pool: Arc<BlockingPool>,
    pub(crate) control: MailboxSender<ControlMail>,
    pub(crate) own_directory: PathBuf,
    pub(crate) poll: Option<Duration>,
    pub(crate) start: u64,
}

/// What a shard gets when all others are known.
struct Post {
    inbox: MailboxReceiver<ShardMail>,
    shards: Vec<MailboxSender<ShardMail>>,
}

pub(crate) type Started = (Vec<MailboxSender<ShardMail>>, Vec<thread::JoinHandle<()>>);

/// Starts the shards' threads. A ring belongs to the thread that made it, so each makes its own
/// and hands out its doorbell; then they are told of each other.
pub(crate) fn start_shards(layout: &ShardLayout, plan: &ShardPlan) -> Result<Started, String> {
    let (doorbells_in, doorbells) = mpsc::channel::<(usize, Result<Doorbell, String>)>();
    let mut threads = Vec::new();
    let mut posts = Vec::new();
    for (index, cpu) in layout.shards.iter().copied().enumerate() {
        let (post_in, post) = mpsc::channel::<Post>();
        posts.push(post_in);
        let doorbells_in = doorbells_in.clone();
        let plan = plan.clone();
        let body = move || {
            if let Some(cpu) = cpu {
                cpus::pin_current_thread(cpu);
            }
            let ring = match Ring::new(&RingConfig::default()) {
                Ok(ring) => ring,
                Err(error) => {
                    let _ = doorbells_in.send((index, Err(error.to_string())));
                    return;
                }
            };
            if doorbells_in.send((index, Ok(ring.doorbell()))).is_err() {
                return;
            }
            let Ok(post) = post.recv() else { return };
            let index = u32::try_from(index).expect("shards are limited");
            if let Err(error) = plan.build(index, ring, post).run() {
                // Without one of its shards a daemon answers some clients and not others.
                tracing::error!("shard {index}: its ring failed: {error}; the daemon ends");
                std::process::exit(1);
            }
        };
        let thread = thread::Builder::new().name(format!("shard {index}")).spawn(body);
        threads.push(thread.map_err(|error| format!("no thread for shard {index}: {error}"))?);
    }
    drop(doorbells_in);
    let mut mailboxes: BTreeMap<usize, _> = BTreeMap::new();
    for (index, doorbell) in doorbells {
        mailboxes.insert(index, mailbox::bounded(MAILBOX_CAPACITY, doorbell?));
        if mailboxes.len() == layout.count() {
            break;
        }
    }
    let senders: Vec<_> = mailboxes.values().map(|(sender, _)| sender.clone()).collect();
    for (post, (_, inbox)) in posts.iter().zip(mailboxes.into_values()) {
        let _ = post.send(Post { inbox, shards: senders.clone() });
    }
    Ok((senders, threads))
}

impl ShardPlan {
    fn build(self, index: u32, ring: Ring, post: Post) -> Shard {
        let (me, shards_count) = (self.shared.me, self.shared.shards_count);
        let mailbox = post.shards[index as usize].clone();
        let peers = (0..self.shared.addresses.len())
            .map(|node| Pnn(u32::try_from(node).expect("nodes are limited")))
            .filter(|node| *node != me);
        let settings = record::Settings {
            me,
            lane: index,
            lanes_count: shards_count,
            deletion_delay_us: 10_000_000,
        };
        let start = u32::try_from(self.start & u64::from(u32::MAX)).expect("masked");
        let mut shard = Shard {
            relays: Relays::new(peers),
            pushes: Pushes::default(),
            io: Io {
                lanes: Lanes::new(self.shared.clone(), index),
                index,
                ring,
                clients: Slab::new(),
                shards: post.shards.into_iter().map(Outbox::new).collect(),
                control: Outbox::new(self.control),
                generation: Generation::INVALID,
                chains_wanted: Vec::new(),
                pushes_answered: Vec::new(),
                packet: Vec::new(),
                moves: Moves::default(),
                shared: self.shared,
            },
            inbox: post.inbox,
            records: Records::new(settings),
            store: Store::new(index, shards_count),
            persistent: Persistent::new(me, persistent::Settings::default()),
            jobs: DiskJobs::new(self.disk_pool.clone(), mailbox.clone(), self.own_directory),
            waits: ChainWaits::new(self.lock_pool, mailbox.clone()),
            walks: Walks::new(me, index, shards_count, start, self.disk_pool, mailbox),
            sequence_numbers: SequenceNumbers::new(index),
            peers: BTreeMap::new(),
            preparing: None,
            is_paused: false,
            unattached: Unattached::default(),
            clients_uses: 0,
            fences_count: 0,
            stops: false,
            poll: self.poll,
        };
        shard.apply_tunables();
        shard
    }
}
