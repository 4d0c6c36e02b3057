//! `cargo xtask bench watch`: what watching a node costs, as a page in the book.

use std::fs;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::Value;

use super::page::{CHANGED, machine, page, save};
use super::{Figure, Results};
use crate::stages::soak::measure;
use crate::workspace::Workspace;

/// Of one core, in percent.
const CPU_PERCENT: f64 = 1.0;
/// In MB, of all our processes.
const PSS_MB: f64 = 50.0;

/// Measures for a quarter of an hour and writes `docs/bench/watch.md`.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    let workspace = Workspace::find()?;
    let commit = Results::open(&workspace, "watch")?.commit;
    let file = workspace.target.join("bench/row.json");
    let name = file
        .to_str()
        .context("the target folder's name is no text")?;
    measure("bench_watch", &[vec![("UNSWEPT_ROWS", name)]])?;
    let text = fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let row: Value = serde_json::from_slice(&text).context("the row is no JSON")?;
    let figures = figures(&row).context("a figure is missing in the row")?;
    let target = "20 × `examples/shop` and one `tests/targets heap`";
    let commit = commit.as_deref().unwrap_or(CHANGED);
    let text = page("watch", &figures, &machine(target.into()), commit);
    println!("\n{}", save(&workspace, "watch", &text)?.display());
    for figure in &figures {
        println!("    {}", figure.line());
    }
    Ok(ExitCode::SUCCESS)
}

fn figures(row: &Value) -> Option<Vec<Figure>> {
    let cpu = row["cpu_percent"].as_f64()?;
    let pss_mb = row["pss_mib"].as_f64()? * 1.048_576;
    let what = format!(
        "{} services, one with {}, the others like one with {}, for {} s",
        row["services"].as_u64()?,
        row["big_rss"].as_str()?,
        row["small_rss"].as_str()?,
        row["seconds"].as_u64()?,
    );
    let by = "unswept watch";
    Some(vec![
        Figure {
            what: format!("CPU of all our processes, user and system: {what}"),
            asked: format!("under {CPU_PERCENT} % of a core"),
            measured: format!("{cpu:.2} %"),
            kept: Some(cpu < CPU_PERCENT),
            by: by.into(),
        },
        Figure {
            what: "their memory (Pss), the most of it at a time".into(),
            asked: format!("under {PSS_MB} MB"),
            measured: format!("{pss_mb:.1} MB"),
            kept: Some(pss_mb < PSS_MB),
            by: by.into(),
        },
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_figures_are_held_against_what_was_asked() {
        let row = json!({
            "cpu_percent": 0.7, "pss_mib": 60.0, "seconds": 600, "services": 21,
            "small_rss": "99000 kB", "big_rss": "2000000 kB",
        });
        let figures = figures(&row).unwrap();
        let kept: Vec<Option<bool>> = figures.iter().map(|figure| figure.kept).collect();
        assert_eq!(kept, [Some(true), Some(false)]);
        assert_eq!(figures[1].measured, "62.9 MB");
        assert!(super::figures(&json!({})).is_none());
    }
}
