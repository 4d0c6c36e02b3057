//! What `cargo metadata` says about our packages and those of others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::Context as _;
use serde_json::Value;

use crate::process::output_of;
use crate::workspace::Workspace;

/// The platforms that we ship for.
pub(crate) const PLATFORMS: &[&str] = &["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// A package of this workspace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own {
    pub(crate) name: String,
    /// All direct dependencies of any kind, own and foreign.
    pub(crate) dependencies: BTreeSet<String>,
    /// Direct dependencies of a normal build.
    pub(crate) normal: BTreeSet<String>,
}

/// A package that a normal build of our crates brings in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Foreign {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// Somebody who depends on it.
    pub(crate) wanted_by: String,
}

/// Both kinds.
#[derive(Debug, Default)]
pub(crate) struct Packages {
    pub(crate) own: Vec<Own>,
    pub(crate) foreign: Vec<Foreign>,
}

/// Asks cargo; fetches nothing that a build has already fetched.
///
/// # Errors
/// When cargo fails, or prints something else than its documented JSON.
pub(crate) fn load(workspace: &Workspace, platform: &str) -> anyhow::Result<Packages> {
    let arguments = [
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        platform,
    ];
    let text = output_of(&mut workspace.cargo(&arguments)).context(
        "`cargo metadata --locked` failed; run it by itself to see why (an old Cargo.lock? no network?)",
    )?;
    let metadata: Value =
        serde_json::from_str(&text).context("`cargo metadata` printed no JSON")?;
    Ok(read(&metadata))
}

fn read(metadata: &Value) -> Packages {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let members: BTreeSet<String> = list(&metadata["workspace_members"])
        .iter()
        .map(text)
        .collect();
    let packages: BTreeMap<String, Value> = list(&metadata["packages"])
        .into_iter()
        .map(|package| (text(&package["id"]), package))
        .collect();

    let own: Vec<Own> = packages
        .iter()
        .filter(|(id, _)| members.contains(*id))
        .map(|(_, package)| {
            let dependencies = list(&package["dependencies"]);
            Own {
                name: text(&package["name"]),
                dependencies: dependencies.iter().map(|d| text(&d["name"])).collect(),
                normal: dependencies
                    .iter()
                    .filter(|d| d["kind"].is_null())
                    .map(|d| text(&d["name"]))
                    .collect(),
            }
        })
        .collect();

    // From the product's crates along normal and build edges: what a normal build compiles.
    let edges: BTreeMap<String, Vec<String>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let normal = list(&node["deps"]).into_iter().filter(|dep| {
                list(&dep["dep_kinds"])
                    .iter()
                    .any(|kind| kind["kind"] != "dev")
            });
            (
                text(&node["id"]),
                normal.map(|dep| text(&dep["pkg"])).collect(),
            )
        })
        .collect();
    let is_product = |id: &&String| {
        packages[*id]["manifest_path"]
            .as_str()
            .is_some_and(|p| p.contains("/crates/"))
    };
    let mut queue: VecDeque<String> = members
        .iter()
        .filter(|id| packages.contains_key(*id))
        .filter(is_product)
        .cloned()
        .collect();
    let mut seen: BTreeSet<String> = queue.iter().cloned().collect();
    let mut foreign = Vec::new();
    while let Some(id) = queue.pop_front() {
        for next in edges.get(&id).into_iter().flatten() {
            let (true, Some(package)) = (seen.insert(next.clone()), packages.get(next)) else {
                continue;
            };
            queue.push_back(next.clone());
            if !members.contains(next) {
                foreign.push(Foreign {
                    name: text(&package["name"]),
                    version: text(&package["version"]),
                    license: package["license"].as_str().map(str::to_string),
                    wanted_by: packages
                        .get(&id)
                        .map(|p| text(&p["name"]))
                        .unwrap_or_default(),
                });
            }
        }
    }
    Packages { own, foreign }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_normal_and_build_edges_only() {
        let package = |name: &str, path: &str, dependencies: Value| {
            serde_json::json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT",
                "manifest_path": path, "dependencies": dependencies})
        };
        let node = |id: &str, deps: &[(&str, Option<&str>)]| {
            let deps: Vec<Value> = deps
                .iter()
                .map(|(pkg, kind)| serde_json::json!({"pkg": pkg, "dep_kinds": [{"kind": kind}]}))
                .collect();
            serde_json::json!({"id": id, "deps": deps})
        };
        let metadata = serde_json::json!({
            "workspace_members": ["judge", "xtask"],
            "packages": [
                package("judge", "/r/crates/judge/Cargo.toml", serde_json::json!([
                    {"name": "statrs", "kind": null}, {"name": "proptest", "kind": "dev"}])),
                package("xtask", "/r/xtask/Cargo.toml", serde_json::json!([])),
                package("statrs", "/c/statrs/Cargo.toml", serde_json::json!([])),
                package("cc", "/c/cc/Cargo.toml", serde_json::json!([])),
                package("proptest", "/c/proptest/Cargo.toml", serde_json::json!([])),
                package("anyhow", "/c/anyhow/Cargo.toml", serde_json::json!([])),
            ],
            "resolve": {"nodes": [
                node("judge", &[("statrs", None), ("proptest", Some("dev"))]),
                node("statrs", &[("cc", Some("build"))]),
                node("xtask", &[("anyhow", None)]),
            ]},
        });
        let packages = read(&metadata);
        let names: Vec<&str> = packages.foreign.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["statrs", "cc"]);
        assert_eq!(packages.foreign[1].wanted_by, "statrs");
        let judge = packages.own.iter().find(|own| own.name == "judge").unwrap();
        assert_eq!(judge.dependencies.len(), 2);
        assert_eq!(judge.normal.len(), 1);
    }
}
