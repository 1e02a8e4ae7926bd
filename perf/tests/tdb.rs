//! The comparison with libtdb runs and reports; its figures are not judged here.

use std::process::Command;

#[test]
fn a_short_comparison_reports_every_cell_as_json() {
    let output = Command::new(env!("CARGO_BIN_EXE_bateria-perf"))
        .args(["tdb", "--short", "--json", "--records", "200", "--value", "100"])
        .arg("--dir")
        .arg(std::env::temp_dir())
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let cells = report["cells"].as_array().expect("a list");
    // Nine operations in both modes of locking.
    assert_eq!(cells.len(), 18);
    for cell in cells {
        for who in ["bateria", "libtdb"] {
            let figures = cell[who]["ns_per_operation"].as_array().expect("a list");
            assert!(figures.iter().all(|figure| figure.as_f64().is_some_and(|ns| ns > 0.0)));
        }
    }
    assert!(report["geometric_mean"].as_f64().is_some_and(f64::is_finite));
}
