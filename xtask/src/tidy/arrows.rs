//! Who may know whom: the arrows between our crates, as ARCHITECTURE.md draws them.
//!
//! Development dependencies count too: a test that needs a crate from further along tests the wrong
//! thing, or lies in the wrong crate.

use super::packages::Own;

/// One crate and the own crates it may depend on.
type Row = (&'static str, Allowed);

enum Allowed {
    Only(&'static [&'static str]),
    All,
}

use Allowed::{All, Only};

/// From the middle of the house outwards.
const ARROWS: &[Row] = &[
    ("model", Only(&[])),
    ("fetch", Only(&[])),
    ("profile", Only(&[])),
    ("inspect", Only(&[])),
    ("native", Only(&[])),
    ("wire", Only(&["model"])),
    ("ledger", Only(&["model"])),
    ("promql", Only(&["model"])),
    ("judge", Only(&["model"])),
    ("reader", Only(&["model", "inspect", "native"])),
    ("collect", Only(&["model", "wire", "fetch", "reader"])),
    ("store", Only(&["model", "wire", "fetch"])),
    ("locate", Only(&["model", "profile", "inspect", "native"])),
    ("alert", Only(&["model", "promql", "fetch"])),
    (
        "engine",
        Only(&[
            "model", "wire", "fetch", "profile", "inspect", "native", "reader", "collect",
            "ledger", "store", "promql", "judge", "locate", "alert",
        ]),
    ),
    // `wire` writes its /metrics; `profile` and `inspect` read evidence.
    (
        "web",
        Only(&["model", "wire", "promql", "profile", "inspect", "alert"]),
    ),
    ("unswept", All),
    (
        "fuzz",
        Only(&["inspect", "ledger", "native", "profile", "reader", "wire"]),
    ),
    // What a judge is measured on must not know it.
    ("corpus", Only(&[])),
    ("backtest", Only(&["corpus", "judge", "model"])),
    // The stories see the binary from outside, as a user does; the corpus knows nothing of ours.
    ("e2e", Only(&["corpus"])),
    ("xtask", Only(&[])),
];

/// Crates that are functions from bytes or slices to values.
pub(super) const PURE: &[&str] = &[
    "model", "wire", "profile", "ledger", "judge", "locate", "promql",
];

/// What would give a pure crate a socket, a runtime, a clock or a disk.
const IO: &[&str] = &[
    "tokio", "reqwest", "hyper", "axum", "rustix", "fjall", "rustls",
];

/// Complaints about dependencies between our crates.
pub(super) fn check(own: &[Own]) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in own {
        let name = package.name.as_str();
        let Some((_, allowed)) = ARROWS.iter().find(|(row, _)| *row == name) else {
            complaints.push(format!(
                "arrows: the crate `{name}` is in no table; say in ARCHITECTURE.md whom it may know, \
                 and in ARROWS in xtask/src/tidy/arrows.rs"
            ));
            continue;
        };
        for other in own.iter().map(|other| other.name.as_str()) {
            let known = other != name && package.dependencies.contains(other);
            let may = match allowed {
                All => true,
                Only(names) => names.contains(&other),
            };
            if known && !may {
                complaints.push(format!(
                    "arrows: {name} -> {other} is not allowed; move what {name} needs into a crate \
                     that both may know (often model), hand it in from engine, or remove the \
                     dependency from crates/{name}/Cargo.toml"
                ));
            }
        }
        for io in IO
            .iter()
            .filter(|io| PURE.contains(&name) && package.normal.contains(**io))
        {
            complaints.push(format!(
                "arrows: {name} is pure and must not depend on {io}; do the input and output in the \
                 crate that calls it"
            ));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(name: &str, dependencies: &[&str]) -> Own {
        let dependencies: std::collections::BTreeSet<String> =
            dependencies.iter().map(ToString::to_string).collect();
        Own {
            name: name.to_string(),
            normal: dependencies.clone(),
            dependencies,
        }
    }

    #[test]
    fn arrows() {
        let rows: &[(&str, &[Own], &[&str])] = &[
            (
                "allowed",
                &[own("model", &[]), own("wire", &["model", "bytes"])],
                &[],
            ),
            (
                "the binary may know all",
                &[own("web", &[]), own("unswept", &["web"])],
                &[],
            ),
            (
                "the judge must not read the store",
                &[
                    own("store", &["model"]),
                    own("model", &[]),
                    own("judge", &["model", "store"]),
                ],
                &["judge -> store"],
            ),
            (
                "a circle is two complaints",
                &[own("web", &["engine"]), own("engine", &["web"])],
                &["web -> engine", "engine -> web"],
            ),
            (
                "a crate nobody listed",
                &[own("cache", &[])],
                &["`cache` is in no table"],
            ),
            (
                "a pure crate with a runtime",
                &[own("judge", &["tokio"])],
                &["judge is pure"],
            ),
            (
                "an impure crate with a runtime",
                &[own("fetch", &["tokio"])],
                &[],
            ),
        ];
        for (name, packages, expected) in rows {
            let found = check(packages);
            assert_eq!(found.len(), expected.len(), "{name}: {found:?}");
            for (found, expected) in found.iter().zip(*expected) {
                assert!(found.contains(expected), "{name}: {found}");
            }
        }
    }

    #[test]
    fn development_dependencies_count() {
        let mut judge = own("judge", &["store"]);
        judge.normal.clear();
        assert_eq!(check(&[judge, own("store", &[])]).len(), 1);
    }

    #[test]
    fn the_table_has_no_circle() {
        // Each row may name only rows above it, so no way leads back.
        for (place, (name, allowed)) in ARROWS.iter().enumerate() {
            let Only(names) = allowed else { continue };
            for other in *names {
                let above = ARROWS.iter().take(place).any(|(row, _)| row == other);
                assert!(above, "{name} -> {other}");
            }
        }
    }
}
