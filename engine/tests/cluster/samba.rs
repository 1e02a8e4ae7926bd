//! Unmodified Samba programs on all nodes: servers, and the clients of the daemon's socket that Samba ships.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::harness::{Cell, Outcome, Plan, until};

#[test]
fn three_smbd_are_one_server() {
    let Some(cell) = Cell::serving(Plan::nodes(3)) else { return };
    let original = cell.dir().join("original");
    let copy = cell.dir().join("copy");
    fs::write(&original, vec![0x5A; 3_000_000]).expect("the cell's directory is ours");

    smbclient(&cell, 0, &format!("put {} seen.bin", original.display())).text();
    smbclient(&cell, 2, &format!("get seen.bin {}", copy.display())).text();
    assert_eq!(
        fs::read(&copy).expect("it was fetched"),
        fs::read(&original).expect("it was written")
    );

    // The scenes of the demonstration are checks too: they end with what they saw.
    for scene in ["exclusive_open", "byte_range_lock", "oplock_break", "status_shown"] {
        let scenes = crate::harness::repository().join("scripts/scenes").display().to_string();
        println!("{}", cell.run(0, &scenes, &[&cell.dir().display().to_string(), scene]).text());
    }
    cell.check_files();
}

#[test]
fn smbd_works_on_two_nodes_while_the_third_dies_and_returns() {
    let Some(cell) = Cell::serving(Plan::nodes(3)) else { return };
    let scenes = crate::harness::repository().join("scripts/scenes").display().to_string();
    let dir = cell.dir().display().to_string();

    for scene in ["file_written_on_one_node", "daemon_killed", "daemon_back", "files_clean"] {
        println!("{}", cell.run(0, &scenes, &[&dir, scene]).text());
    }
}

#[test]
fn records_stored_by_dbwrap_tool_are_seen_on_every_node() {
    let Some(cell) = Cell::healthy(Plan::nodes(3)) else { return };
    let dbwrap =
        |node, kind, rest: &[&str]| samba(&cell, node, "dbwrap_tool", &[&[kind], rest].concat());

    for (kind, database) in [("--persistent", "kept.tdb"), ("--non-persistent", "gone.tdb")] {
        dbwrap(0, kind, &[database, "store", "key", "uint32", "5"]).text();
        assert_eq!(dbwrap(1, kind, &[database, "fetch", "key", "uint32"]).text(), "5\n");
        dbwrap(2, kind, &[database, "store", "key", "uint32", "6"]).text();
        assert_eq!(dbwrap(0, kind, &[database, "fetch", "key", "uint32"]).text(), "6\n");
        assert_eq!(dbwrap(1, kind, &[database, "listkeys"]).text(), "key\\00\n");
        dbwrap(1, kind, &[database, "delete", "key"]).text();
        assert!(!dbwrap(2, kind, &[database, "fetch", "key", "uint32"]).success());
    }
    cell.check_files();
}

#[test]
fn a_cluster_wide_lock_of_samba_excludes_other_nodes() {
    let Some(cell) = Cell::healthy(Plan::nodes(3)) else { return };
    let conf = configuration(&cell, 0);

    let released = cell.dir().join("released").display().to_string();
    let mut holder = cell.spawn(
        0,
        "net",
        &[
            "-s",
            &conf,
            "g_lock",
            "do",
            "the lock",
            "60000",
            &format!("echo held; read word; touch {released}"),
        ],
    );
    holder.line(Duration::from_secs(20), |line| line == "held");
    let locks = samba(&cell, 1, "net", &["g_lock", "dump", "the lock"]).text();
    assert!(locks.starts_with("0:") && locks.contains("WRITE"), "{locks}");
    let next = cell.spawn(
        2,
        "net",
        &[
            "-s",
            &configuration(&cell, 2),
            "g_lock",
            "do",
            "the lock",
            "60000",
            &format!("if [ -e {released} ]; then echo mine; else echo too early; fi"),
        ],
    );
    // Long enough for the other to come for the lock; the order is checked however long it takes.
    thread::sleep(Duration::from_millis(500));
    holder.say("go on");
    assert!(holder.finish(Duration::from_secs(20)).success());
    let taken = next.all_lines(Duration::from_secs(20));
    assert!(taken.contains(&"mine".to_owned()), "{taken:?}");

    // A holder that dies leaves the lock: its node answers for it.
    let holder = cell.spawn(
        0,
        "net",
        &["-s", &conf, "g_lock", "do", "the lock", "60000", "echo held; exec sleep 100"],
    );
    holder.line(Duration::from_secs(20), |line| line == "held");
    // Its child has inherited the connection to the daemon: only with both of them is the client gone.
    cell.run(0, "pkill", &["-KILL", "-x", "net|sleep"]);
    let taken = samba(&cell, 1, "net", &["g_lock", "do", "the lock", "60000", "echo mine"]).text();
    assert!(taken.contains("mine"), "{taken}");
    cell.check_files();
}

#[test]
fn configuration_and_users_stored_on_one_node_are_there_on_all() {
    let Some(cell) = Cell::serving(Plan::nodes(3)) else { return };

    samba(&cell, 0, "net", &["registry", "createkey", r"HKLM\Software\Bateria"]).text();
    samba(
        &cell,
        1,
        "net",
        &["registry", "setvalue", r"HKLM\Software\Bateria", "beat", "sz", "samba"],
    )
    .text();
    let value =
        samba(&cell, 2, "net", &["registry", "getvalue", r"HKLM\Software\Bateria", "beat"]).text();
    assert!(value.contains("\"samba\""), "{value}");

    samba(&cell, 2, "net", &["conf", "addshare", "more", "/tmp"]).text();
    assert!(samba(&cell, 0, "net", &["conf", "list"]).text().contains("[more]"));

    let conf = configuration(&cell, 1);
    let add = format!("printf 'secret\\nsecret\\n' | smbpasswd -c {conf} -s -a root");
    cell.run(1, "sh", &["-c", &add]).text();
    assert!(samba(&cell, 2, "pdbedit", &["-L"]).text().contains("root:0:"));

    // After the daemons of all nodes have ended it is still there: persistent means on disk.
    for node in cell.nodes() {
        cell.stop(node);
    }
    cell.check_files();
    cell.start_all();
    cell.wait_healthy();
    assert!(samba(&cell, 0, "pdbedit", &["-L"]).text().contains("root:0:"));
    assert!(samba(&cell, 1, "net", &["conf", "list"]).text().contains("[more]"));
}

#[test]
fn messages_reach_the_samba_processes_of_all_nodes() {
    let Some(cell) = Cell::serving(Plan::nodes(3)) else { return };

    until("a ping of all processes is answered from every node", Duration::from_secs(20), || {
        let answer = samba(&cell, 0, "smbcontrol", &["all", "ping"]).stdout;
        cell.nodes().all(|node| answer.contains(&format!("PONG from pid {node}:")))
    });
    let pid = fs::read_to_string(cell.dir().join("smb.2/pid/smbd.pid")).expect("smbd runs");
    let answer = samba(&cell, 0, "smbcontrol", &[&format!("2:{}", pid.trim()), "ping"]).text();
    assert!(answer.contains("PONG from pid 2:"), "{answer}");
}

#[test]
fn winbindd_works_on_the_socket() {
    let Some(cell) = Cell::serving(Plan::nodes(2)) else { return };

    samba(&cell, 1, "winbindd", &["-D"]).text();

    // It answers once its databases are attached.
    until("winbindd answers", Duration::from_secs(20), || {
        cell.run(1, "wbinfo", &["--ping"]).success()
    });
    assert!(!cell.run(1, "wbinfo", &["--own-domain"]).text().trim().is_empty());
    assert!(cell.run(1, "wbinfo", &["--sid-to-uid=S-1-5-21-1-2-3-1000"]).code() < 128);
    cell.check_files();
}

#[test]
fn killing_the_daemon_ends_its_smbd_and_no_other() {
    let Some(cell) = Cell::serving(Plan::nodes(2)) else { return };

    cell.kill(1);

    let pid = |node| {
        fs::read_to_string(cell.dir().join(format!("smb.{node}/pid/smbd.pid")))
            .expect("smbd started")
    };
    let lives = |node| {
        let stat = fs::read_to_string(cell.proc_dir().join(pid(node).trim()).join("stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    until("smbd ends with its daemon", Duration::from_secs(10), || !lives(1));
    assert!(lives(0));
    smbclient(&cell, 0, "ls").text();
}

fn smbclient(cell: &Cell, node: u32, command: &str) -> Outcome {
    cell.run(node, "smbclient", &["-N", &format!("//127.0.0.{}/share", node + 1), "-c", command])
}

/// A Samba program with the node's configuration.
fn samba(cell: &Cell, node: u32, program: &str, args: &[&str]) -> Outcome {
    let conf = configuration(cell, node);
    cell.run(node, program, &[&["-s", conf.as_str()], args].concat())
}

fn configuration(cell: &Cell, node: u32) -> String {
    cell.dir().join(format!("smb.{node}/smb.conf")).display().to_string()
}
