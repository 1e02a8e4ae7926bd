//! The outer half: a walled-off cluster for one measurement.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::figures::Figures;
use crate::{Arguments, Fault, Measure};

/// A cluster without smbd. It ends with this value, or with this process, because it lives as long as its pipe.
struct Cell {
    dir: PathBuf,
    hold: Child,
}

/// Runs one measurement of one daemon in a cell of its own.
pub(crate) fn measure(
    arguments: &Arguments,
    measure: Measure,
    name: &str,
    daemon: &str,
) -> Result<Figures, Fault> {
    let cell = Cell::new(arguments, daemon)?;
    // Starting is what `start` measures, so it does it itself.
    if measure != Measure::Start {
        cell.script("start")?;
        cell.script("healthy")?;
    }
    let [nodes, clients, seconds] =
        [u64::from(arguments.nodes), u64::from(arguments.clients), arguments.seconds]
            .map(|number| number.to_string());
    let output = Command::new(cluster_script())
        .arg("enter")
        .arg(&cell.dir)
        .arg(std::env::current_exe()?)
        .args(["inside", name])
        .arg(&cell.dir)
        .args([nodes, clients, seconds])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{name} of {daemon} failed: {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The script that makes clusters, in this program's source tree.
pub(crate) fn cluster_script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("scripts").join("cluster")
}

impl Cell {
    fn new(arguments: &Arguments, daemon: &str) -> Result<Cell, Fault> {
        let dir = std::env::temp_dir().join(format!("bateria-perf.{}", std::process::id()));
        let mut command = Command::new(cluster_script());
        command.arg("hold").arg(&dir).args([
            "--nodes",
            &arguments.nodes.to_string(),
            "--daemon",
            daemon,
        ]);
        if let Some(shards) = arguments.shards {
            command.args(["--shards", &shards.to_string()]);
        }
        let mut hold = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut ready = String::new();
        BufReader::new(hold.stdout.take().expect("stdout is piped")).read_line(&mut ready)?;
        let cell = Cell { dir, hold };
        if ready == "ready\n" { Ok(cell) } else { Err("the cluster's cell did not come up".into()) }
    }

    fn script(&self, command: &str) -> Result<(), Fault> {
        let status = Command::new(cluster_script())
            .arg(command)
            .arg(&self.dir)
            .stdout(Stdio::null())
            .status()?;
        if status.success() { Ok(()) } else { Err(format!("cluster {command}: {status}").into()) }
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        drop(self.hold.stdin.take());
        let _ = self.hold.wait();
    }
}
