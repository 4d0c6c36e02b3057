//! Where things lie, and `cargo` called so that nothing is built twice.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process::output_of;

/// The folders every command needs. All paths are absolute.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// The folder of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// The workspace this program was built from.
    ///
    /// # Errors
    /// When that folder is gone, or was moved since the build.
    pub(crate) fn find() -> anyhow::Result<Workspace> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask has no parent")?;
        if !root.join("Cargo.toml").is_file() {
            bail!(
                "{} is no longer there; build xtask again with `cargo xtask`",
                root.display()
            );
        }
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || root.join("target"),
            |folder| root.join(folder), // An absolute folder replaces the root.
        );
        Ok(Workspace {
            root: root.to_path_buf(),
            target,
        })
    }

    /// Programs we fetched ourselves; a `cargo clean` removes them.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The release binary, as the demo, measurements and soaks use it.
    pub(crate) fn unswept(&self) -> PathBuf {
        self.target.join("release/unswept")
    }

    /// The same with debug assertions and checks of arithmetic, as the tests use it: it is built with them, so that
    /// nothing is built twice.
    pub(crate) fn unswept_with_checks(&self) -> PathBuf {
        self.target.join("debug/unswept")
    }

    /// The sample shop's folder.
    pub(crate) fn shop(&self) -> PathBuf {
        self.root.join("examples/shop")
    }

    /// What is picked by chance in a run: another commit, another pick. `UNSWEPT_SEED` overrules.
    ///
    /// # Errors
    /// When that is no number.
    pub(crate) fn seed(&self) -> anyhow::Result<u64> {
        if let Ok(text) = std::env::var("UNSWEPT_SEED") {
            let number = text.parse();
            return number.with_context(|| format!("UNSWEPT_SEED is no number: `{text}`"));
        }
        // Without git, as in an unpacked archive, any seed will do.
        let digits = self
            .commit()
            .and_then(|text| text.get(..8).map(str::to_owned));
        Ok(digits.map_or(1, |digits| u64::from_str_radix(&digits, 16).unwrap_or(1)))
    }

    /// The commit's id; `None` outside of a clone.
    pub(crate) fn commit(&self) -> Option<String> {
        let mut git = Command::new("git");
        git.arg("-C").arg(&self.root).args(["rev-parse", "HEAD"]);
        output_of(&mut git).map(|text| text.trim().to_owned())
    }

    /// As [`Self::commit`], if the files are what that has: results of others have no name.
    pub(crate) fn clean_commit(&self) -> Option<String> {
        let mut status = Command::new("git");
        status
            .arg("-C")
            .arg(&self.root)
            .args(["status", "--porcelain"]);
        let is_clean = output_of(&mut status).is_some_and(|text| text.is_empty());
        self.commit().filter(|_| is_clean)
    }

    /// `cargo` with `arguments` in the workspace's root.
    ///
    /// `cargo run` sets variables about *this* package. Build scripts that watch them (`ring`'s does)
    /// would build again each time somebody changes between `cargo test` and `cargo xtask test`.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args(arguments)
            .current_dir(&self.root)
            .env("CARGO_TERM_COLOR", "never");
        for (name, _) in std::env::vars_os() {
            let Some(text) = name.to_str() else { continue };
            if text.starts_with("CARGO_PKG_")
                || matches!(
                    text,
                    "CARGO_MANIFEST_DIR"
                        | "CARGO_MANIFEST_PATH"
                        | "CARGO_BIN_NAME"
                        | "CARGO_CRATE_NAME"
                        | "CARGO_PRIMARY_PACKAGE"
                )
            {
                command.env_remove(text);
            }
        }
        command
    }
}

/// The first file called `name` on PATH, or in the folders for system programs, which are often not
/// on a user's PATH.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file)
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}
