//! Crates depend only on lower floors, and the crates of one floor do not know each other.
//!
//! ```text
//! floor 3   perf   ci
//! floor 2   engine   sim   client
//! floor 1   core   smbshim   tdb   ring
//! floor 0   wire
//! ```

use std::path::Path;
use std::process::{Command, ExitCode};

use serde::Deserialize;

/// What `cargo metadata` says of the workspace, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
}

/// Prints every edge that breaks the rule.
pub(crate) fn report(root: &Path) -> ExitCode {
    let metadata = match read(root) {
        Ok(metadata) => metadata,
        Err(reason) => {
            eprintln!("floors: {reason}");
            return ExitCode::FAILURE;
        }
    };
    let faults = faults(&metadata);
    for fault in &faults {
        eprintln!("floors: {fault}");
    }
    println!("floors: {} crates, {} faults", metadata.packages.len(), faults.len());
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read(root: &Path) -> Result<Metadata, String> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version=1", "--no-deps"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

/// One sentence for each edge that does not go down, and for each crate without a floor.
fn faults(metadata: &Metadata) -> Vec<String> {
    let mut faults = Vec::new();
    for package in &metadata.packages {
        let Some(floor) = floor_of(&package.name) else {
            faults.push(format!("{} has no floor: give it one in ci/src/floors.rs", package.name));
            continue;
        };
        // Dependencies of tests count too: they would tie the crates together just the same.
        for dependency in &package.dependencies {
            // A crate that depends on itself turns a feature on for its own tests.
            if let Some(below) = floor_of(&dependency.name)
                && below >= floor
                && dependency.name != package.name
            {
                faults.push(format!(
                    "{} (floor {floor}) depends on {} (floor {below}), which is not below it",
                    package.name, dependency.name
                ));
            }
        }
    }
    faults
}

fn floor_of(name: &str) -> Option<u32> {
    FLOORS.iter().find(|(crate_name, _)| *crate_name == name).map(|&(_, floor)| floor)
}

const FLOORS: [(&str, u32); 10] = [
    ("bateria-wire", 0),
    ("bateria-core", 1),
    ("bateria-smbshim", 1),
    ("bateria-tdb", 1),
    ("bateria-ring", 1),
    ("bateria-engine", 2),
    ("bateria-sim", 2),
    ("bateria-client", 2),
    ("bateria-perf", 3),
    ("bateria-ci", 3),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(edges: &[(&str, &str)]) -> Metadata {
        let package = |&(name, dependency): &(&str, &str)| Package {
            name: name.to_owned(),
            dependencies: vec![Dependency { name: dependency.to_owned() }],
        };
        Metadata { packages: edges.iter().map(package).collect() }
    }

    #[test]
    fn an_edge_to_a_lower_floor_or_to_a_foreign_crate_is_right() {
        let edges = [
            ("bateria-engine", "bateria-core"),
            ("bateria-wire", "rkyv"),
            ("bateria-perf", "bateria-wire"),
        ];
        assert!(faults(&workspace(&edges)).is_empty());
    }

    #[test]
    fn an_edge_within_a_floor_or_upwards_is_named() {
        let edges = [("bateria-core", "bateria-smbshim"), ("bateria-wire", "bateria-tdb")];
        let faults = faults(&workspace(&edges));
        assert_eq!(faults.len(), 2);
        assert!(faults[0].contains("bateria-core (floor 1) depends on bateria-smbshim (floor 1)"));
    }

    #[test]
    fn a_new_crate_must_be_given_a_floor() {
        assert_eq!(faults(&workspace(&[("bateria-new", "libc")])).len(), 1);
    }
}
