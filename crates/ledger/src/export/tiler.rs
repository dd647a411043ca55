//! A log laid out in tiles as it grows.

use tlog_tiles::tlog::{HASH_SIZE, Hash};

use crate::tiles::{BUNDLE_MAX, HEIGHT, TilePath};

/// Hashes of a whole tile, in bytes.
const TILE_BYTES: usize = BUNDLE_MAX as usize * HASH_SIZE;

/// A tile, and the bytes of its file.
pub(super) type TileFile = (TilePath, Vec<u8>);

/// Gives each tile when it is whole, and at the end those that are not. What is kept meanwhile is
/// one tile of each level, and one bundle.
#[derive(Default)]
pub(super) struct Tiler {
    levels: Vec<Row>,
    bundle: Row,
}

/// The tile of a row that is being filled.
#[derive(Default)]
struct Row {
    number: u64,
    width: u32,
    bytes: Vec<u8>,
}

impl Tiler {
    /// The next entry with the hashes that it makes known, from its leaf upwards. No longer than an
    /// entry may be.
    pub(super) fn push(&mut self, entry: &[u8], hashes: &[Hash]) -> Vec<TileFile> {
        let mut whole = Vec::new();
        for (level, hash) in (0..).zip(hashes.iter().step_by(HEIGHT.into())) {
            if self.levels.len() <= usize::from(level) {
                self.levels.push(Row::default());
            }
            let row = &mut self.levels[usize::from(level)];
            row.push(&hash.0);
            whole.extend(row.take_if(row.bytes.len() == TILE_BYTES, |number, width| {
                TilePath::of_hashes(level, number, width)
            }));
        }
        self.bundle.push(&crate::bundle([entry]));
        let is_whole = u64::from(self.bundle.width) == BUNDLE_MAX;
        whole.extend(self.bundle.take_if(is_whole, TilePath::of_entries));
        whole
    }

    /// The partial tiles at the end of each row.
    pub(super) fn finish(mut self) -> Vec<TileFile> {
        let mut partial = Vec::new();
        for (level, row) in (0..).zip(&mut self.levels) {
            partial.extend(row.take_if(row.width > 0, |number, width| {
                TilePath::of_hashes(level, number, width)
            }));
        }
        let is_some = self.bundle.width > 0;
        partial.extend(self.bundle.take_if(is_some, TilePath::of_entries));
        partial
    }
}

impl Row {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.width += 1;
    }

    fn take_if(
        &mut self,
        condition: bool,
        path: impl FnOnce(u64, u32) -> TilePath,
    ) -> Option<TileFile> {
        condition.then(|| {
            let file = (
                path(self.number, self.width),
                std::mem::take(&mut self.bytes),
            );
            (self.number, self.width) = (self.number + 1, 0);
            file
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tree, bundle};

    #[test]
    fn tiles_are_those_that_a_log_of_this_size_has() {
        for size in [0, 1, 255, 256, 257, 70_000] {
            let (mut tree, mut tiler) = (Tree::default(), Tiler::default());
            let mut files = Vec::new();
            for n in 0_u64..size {
                let entry = n.to_string();
                let hashes = tree.push_entry(entry.as_bytes());
                files.extend(tiler.push(entry.as_bytes(), &hashes));
            }
            files.extend(tiler.finish());
            let names = |paths: &mut dyn Iterator<Item = TilePath>| {
                let mut names: Vec<_> = paths.map(|path| path.to_string()).collect();
                names.sort();
                names
            };
            assert_eq!(
                names(&mut files.iter().map(|(path, _)| *path)),
                names(&mut TilePath::all(size).into_iter())
            );
            for (path, bytes) in files {
                let (first, end) = path.entries();
                if path.is_bundle() {
                    let entries: Vec<_> = (first..end).map(|n| n.to_string()).collect();
                    assert_eq!(bytes, bundle(entries.iter().map(String::as_bytes)));
                } else {
                    assert_eq!(bytes.len() as u64, (end - first) * 32);
                }
            }
        }
    }
}
