//! Where the things are that stories run, as `cargo xtask test` names them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The programs and folders of one run.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The binary under test.
    pub unswept: PathBuf,
    /// The `go` command.
    pub go: OsString,
    /// The sources of the sample shop.
    pub shop: PathBuf,
    /// This repository.
    pub root: PathBuf,
    /// Picks the names in the renamed copy.
    pub seed: u64,
}

impl Setting {
    /// The setting of this run; `None`, after a line that says so, where nothing was built to test.
    #[must_use]
    pub fn find() -> Option<Self> {
        let Some(unswept) = std::env::var_os("UNSWEPT_BIN").map(PathBuf::from) else {
            println!("SKIP: UNSWEPT_BIN is not set; use `cargo xtask test --stage end-to-end`");
            return None;
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().expect("the repository is there");
        let unswept = root.join(unswept); // An absolute path replaces the root.
        assert!(
            unswept.is_file(),
            "no {}: build it first",
            unswept.display()
        );
        let shop = std::env::var_os("UNSWEPT_SHOP_DIR").map(PathBuf::from);
        let seed = seed(&root);
        Some(Self {
            unswept,
            go: std::env::var_os("UNSWEPT_GO").unwrap_or_else(|| "go".into()),
            shop: shop.unwrap_or_else(|| root.join("examples/shop")),
            root,
            seed,
        })
    }

    /// Headless Chromium; `None`, after a line that says so, where there is none.
    #[must_use]
    pub fn chromium() -> Option<PathBuf> {
        let found = std::env::var_os("UNSWEPT_CHROMIUM").map(PathBuf::from);
        if found.is_none() {
            println!("SKIP: no Chromium here (UNSWEPT_CHROMIUM)");
        }
        found
    }

    /// Holds a document against the schema in docs/ that it names: `unswept/verdict/1` is in `verdict-1.schema.json`.
    ///
    /// # Panics
    /// When it breaks the schema, with every place where it does.
    pub fn assert_schema(&self, document: &Value) {
        let name = document["schema"].as_str().unwrap_or_default();
        let file = name.trim_start_matches("unswept/").replace('/', "-");
        // Schemas refer to one another by their ids, which are no places to fetch them from.
        let folder = self.root.join("docs/schema");
        let mut registry = jsonschema::Registry::new();
        let mut wanted = None;
        for entry in std::fs::read_dir(folder).expect("the schemas").flatten() {
            let text = std::fs::read_to_string(entry.path()).expect("a schema");
            let schema: Value = serde_json::from_str(&text).expect("a schema is JSON");
            let id = schema["$id"]
                .as_str()
                .expect("a schema has an id")
                .to_owned();
            if entry.file_name() == *format!("{file}.schema.json") {
                wanted = Some(schema.clone());
            }
            registry = registry.add(id, schema).expect("a schema");
        }
        let wanted = wanted.unwrap_or_else(|| panic!("no schema in docs/ for `{name}`"));
        let registry = registry.prepare().expect("schemas that agree");
        let schema = jsonschema::options()
            .with_registry(&registry)
            .build(&wanted)
            .expect("a JSON Schema");
        let errors: Vec<String> = schema
            .iter_errors(document)
            .map(|error| format!("{error} at {}", error.instance_path()))
            .collect();
        assert!(
            errors.is_empty(),
            "it breaks its schema: {errors:?}\n{document:#}"
        );
    }

    /// Cargo's target folder, two above the binary under test.
    #[must_use]
    pub fn target(&self) -> &Path {
        self.unswept.ancestors().nth(2).unwrap_or(&self.root)
    }

    /// Where pictures of pages are kept: `target/e2e`.
    #[must_use]
    pub fn pictures(&self) -> PathBuf {
        let folder = self.target().join("e2e");
        std::fs::create_dir_all(&folder).expect("a folder for pictures");
        folder
    }
}

/// Another commit, other names; the same commit, the same names. `UNSWEPT_SEED` overrules.
fn seed(root: &Path) -> u64 {
    if let Ok(text) = std::env::var("UNSWEPT_SEED") {
        return text.parse().expect("UNSWEPT_SEED is a number");
    }
    let mut git = Command::new("git");
    let commit = git.arg("-C").arg(root).args(["rev-parse", "HEAD"]).output();
    let text = commit.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    // Without git, as in an unpacked archive, any seed will do.
    let digits = text.ok().and_then(|text| text.get(..8).map(str::to_owned));
    digits.map_or(1, |digits| u64::from_str_radix(&digits, 16).unwrap_or(1))
}
