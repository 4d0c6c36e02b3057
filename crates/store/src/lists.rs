//! The lists of tables that fjall has of each keyspace, held against their checksums before it reads them.
//!
//! `keyspaces/N/current` names the list in force, `vM`, and has its XXH3 of 128 bits. fjall writes that
//! and does not look at it: of a damaged list it believes what it can, and asserts the rest.

use std::fs;
use std::io;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use crate::error::StoreError;

/// Where fjall has its keyspaces, a folder each.
pub(crate) const KEYSPACES: &str = "keyspaces";
const CURRENT: &str = "current";

/// Checks the lists of the database at `path`; one that does not exist yet is whole.
pub(crate) fn check(path: &Path) -> Result<(), StoreError> {
    let keyspaces = fs::read_dir(path.join(KEYSPACES)).into_iter();
    for keyspace in keyspaces.flatten().flatten() {
        check_one(&keyspace.path())?;
    }
    Ok(())
}

fn check_one(keyspace: &Path) -> Result<(), StoreError> {
    let path = keyspace.join(CURRENT);
    let damaged = |reason: &str| StoreError::malformed(path.display().to_string(), reason);
    let current = match fs::read(&path) {
        Ok(current) => current,
        // A keyspace that was being made: fjall begins it again.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("read", &path)(error)),
    };
    let (Some(id), Some(checksum)) = (
        current.first_chunk(),
        current[8.min(current.len())..].first_chunk(),
    ) else {
        return Err(damaged("it is cut off"));
    };
    let (id, checksum) = (u64::from_le_bytes(*id), u128::from_le_bytes(*checksum));
    let list = keyspace.join(format!("v{id}"));
    match fs::read(&list) {
        Ok(bytes) if xxh3_128(&bytes) == checksum => Ok(()),
        Ok(_) => Err(damaged(
            "the list of tables that it names has another checksum",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(damaged("the list of tables that it names is not there"))
        }
        Err(error) => Err(StoreError::io("read", &list)(error)),
    }
}
