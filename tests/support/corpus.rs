//! Where the corpus of real messages is, if it is at hand; its licences keep it out of this project.

use crate::skip::skipped;
use std::path::PathBuf;

/// The folder, or nothing if it is not there, and then says so.
pub(crate) fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("CEFLINE_CORPUS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus")),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    skipped("no corpus beside the project, nor where CEFLINE_CORPUS points");
    None
}
