//! The log of a whole process. There is one per process, so this is one test.

use bateria_engine::log::{LogFault, LogLevel, LogLocation, OpenLog};
use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, process, thread};

struct LogFile(PathBuf);

impl Drop for LogFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_panic_has_its_last_words_in_the_log_behind_what_led_to_it() {
    let file = LogFile(env::temp_dir().join(format!("bateria-log.{}", process::id())));
    let location = LogLocation::File(file.0.clone());
    let open = OpenLog::open(&location, "h").unwrap();
    open.write(LogLevel::Notice, "before the fork").unwrap();
    let log = open.start(LogLevel::Notice, 100).unwrap();
    let second = OpenLog::open(&location, "h").unwrap().start(LogLevel::Notice, 100);
    assert!(matches!(second, Err(LogFault::AlreadyRunning)));

    tracing::info!("led to it");
    let thread = thread::Builder::new().name("shard 7".into());
    assert!(thread.spawn(|| panic!("on purpose")).unwrap().join().is_err());
    tracing::info!("after it");
    assert!(log.flush(Duration::from_secs(20)));

    let text = fs::read_to_string(&file.0).unwrap();
    let words =
        ["before the fork", "led to it", "PANIC in thread shard 7: ", "on purpose", "after it"];
    let places: Vec<usize> = words.iter().map(|word| text.find(word).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
}
