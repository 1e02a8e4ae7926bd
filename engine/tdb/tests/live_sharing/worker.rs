//! What one process does to the shared file until it is told to stop, or killed.

use crate::control::{COUNTERS, Control};
use crate::engine::{Engine, Ours, Refused, Theirs};
use std::path::Path;
use std::time::Duration;

/// Which operations a worker mixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix(pub(crate) u32);

impl Mix {
    /// Increment a counter with its chain locked.
    pub(crate) const COUNT: u32 = 1;
    /// The same, with the chain kept for a while.
    pub(crate) const HOLD: u32 = 2;
    /// Increment with the whole database locked.
    pub(crate) const ALL: u32 = 4;
    /// Increment several counters, and store and delete others, in a transaction.
    pub(crate) const TRANSACTION: u32 = 8;
    /// Store and delete records of all sizes.
    pub(crate) const CHURN: u32 = 16;
    pub(crate) const TRAVERSE: u32 = 32;
}

/// Deterministic per worker; the seed is in the command line that the test prints.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 32) % u64::from(limit)).expect("below a u32")
    }
}

pub(crate) struct Worker {
    control: Control,
    slot: usize,
    dice: Dice,
    mix: u32,
}

impl Worker {
    /// `arguments`: engine, file, flags, control file, slot, seed, mix.
    pub(crate) fn run(arguments: &[String]) {
        let [kind, file, flags, control, slot, seed, mix] = arguments else {
            panic!("a worker has seven arguments, not {arguments:?}");
        };
        let number = |text: &String| text.parse::<u64>().expect("a number");
        let flags = u32::try_from(number(flags)).expect("flags are 32 bits");
        let path = Path::new(file);
        let mut engine: Box<dyn Engine> = match kind.as_str() {
            "ours" => Box::new(Ours::open(path, flags, false)),
            "patient" => Box::new(Ours::open(path, flags, true)),
            "theirs" => Box::new(Theirs::open(path, flags)),
            other => panic!("no engine is called {other}"),
        };
        let mut worker = Self {
            control: Control::open(Path::new(control)),
            slot: usize::try_from(number(slot)).expect("slots are few"),
            dice: Dice::new(number(seed)),
            mix: u32::try_from(number(mix)).expect("a mix has 32 bits"),
        };
        while !worker.control.stopped() {
            worker.control.beat(worker.slot);
            // A refusal is answered by trying something else.
            let _ = worker.step(engine.as_mut());
        }
    }

    fn step(&mut self, engine: &mut dyn Engine) -> Result<(), Refused> {
        let choice = 1 << self.dice.below(6);
        match choice & self.mix {
            Mix::COUNT => (0..20).try_for_each(|_| self.count(engine, false)),
            Mix::HOLD => self.count(engine, true),
            Mix::ALL if self.dice.below(10) == 0 => self.count_all(engine),
            Mix::TRANSACTION if self.dice.below(4) == 0 => self.transact(engine),
            Mix::CHURN => (0..20).try_for_each(|_| churn(&mut self.dice, engine)),
            Mix::TRAVERSE if self.dice.below(10) == 0 => engine.traverse().map(|_| ()),
            _ => Ok(()),
        }
    }

    fn count(&mut self, engine: &mut dyn Engine, hold: bool) -> Result<(), Refused> {
        let counter = self.dice.below(6) as usize % COUNTERS;
        let key = counter_key(counter);
        engine.lock(&key)?;
        if hold {
            std::thread::sleep(Duration::from_micros(u64::from(self.dice.below(2000))));
        }
        self.control.begin(self.slot, counter);
        let outcome = increment(engine, &key);
        match outcome {
            Ok(()) => self.control.finish(self.slot, counter),
            Err(Refused) => self.control.take_back(self.slot, counter),
        }
        engine.unlock(&key);
        outcome
    }

    fn count_all(&mut self, engine: &mut dyn Engine) -> Result<(), Refused> {
        engine.lock_all()?;
        for counter in 0..COUNTERS {
            self.control.begin(self.slot, counter);
            match increment(engine, &counter_key(counter)) {
                Ok(()) => self.control.finish(self.slot, counter),
                Err(Refused) => self.control.take_back(self.slot, counter),
            }
        }
        engine.unlock_all();
        Ok(())
    }

    fn transact(&mut self, engine: &mut dyn Engine) -> Result<(), Refused> {
        let Self { control, slot, dice, .. } = self;
        let mut begun = Vec::new();
        let outcome = engine.transaction(&mut |engine| {
            let counter = dice.below(6) as usize % COUNTERS;
            // Counted as begun before anything can have happened to the file.
            control.begin(*slot, counter);
            begun.push(counter);
            increment(engine, &counter_key(counter))?;
            for _ in 0..dice.below(6) {
                // Deleting what is not there is no reason to give up.
                let _ = churn(dice, engine);
            }
            Ok(dice.below(5) > 0)
        });
        for counter in begun {
            match outcome {
                Ok(true) => control.finish(*slot, counter),
                Ok(false) | Err(Refused) => control.take_back(*slot, counter),
            }
        }
        outcome.map(|_| ())
    }
}

fn churn(dice: &mut Dice, engine: &mut dyn Engine) -> Result<(), Refused> {
    let key = format!("record-{}", dice.below(300));
    let size = match dice.below(20) {
        0 => dice.below(20_000),
        1..5 => dice.below(1000),
        _ => dice.below(60),
    };
    let value = vec![dice.below(256).to_le_bytes()[0]; size as usize];
    if dice.below(3) == 0 {
        engine.remove(key.as_bytes())
    } else {
        engine.put(key.as_bytes(), &value)
    }
}

fn increment(engine: &mut dyn Engine, key: &[u8]) -> Result<(), Refused> {
    let value = engine.get(key)?.expect("counters are never deleted");
    let value = u64::from_le_bytes(value.try_into().expect("counters have 8 bytes"));
    engine.put(key, &(value + 1).to_le_bytes())
}

pub(crate) fn counter_key(counter: usize) -> Vec<u8> {
    format!("counter-{counter}").into_bytes()
}
