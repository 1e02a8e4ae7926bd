//! Several nodes' machines against each other, on copies in memory.

mod hostile;
mod random;
mod scenarios;
mod world;
