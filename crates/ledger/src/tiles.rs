//! How a log is laid out for readers (C2SP tlog-tiles): hashes and entries in tiles of 256.

use std::fmt;

use tlog_tiles::tile::Tile;
use tlog_tiles::tlog::{HASH_SIZE, Hash, stored_hash_index};

/// Leaves of a tile are so many: 2 to this.
pub(crate) const HEIGHT: u8 = 8;

/// No tree is higher: its leaves are counted in 64 bits.
const LEVEL_MAX: u8 = 63;

/// Entries of a bundle, at most.
pub const BUNDLE_MAX: u64 = 1 << HEIGHT;

/// Bytes of an entry, at most: its length stands before it in two bytes.
pub const ENTRY_MAX_BYTES: usize = u16::MAX as usize;

/// A tile of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TilePath(Tile);

impl TilePath {
    /// The tile of this path: `tile/0/x001/067`, `tile/entries/000.p/5`.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("tile/")?;
        // The library writes the height, which C2SP fixes, and has another word for entries.
        let with_height = match rest.strip_prefix("entries/") {
            Some(number) => format!("tile/{HEIGHT}/data/{number}"),
            None => format!("tile/{HEIGHT}/{rest}"),
        };
        if is_out_of_range(rest) {
            return None;
        }
        let tile = Tile::from_path(&with_height).ok().map(Self)?;
        (tile.to_string() == path).then_some(tile)
    }

    /// A tile of hashes; `width` is from 1 to 256.
    pub(crate) fn of_hashes(level: u8, number: u64, width: u32) -> Self {
        Self(Tile::new(HEIGHT, level, number, width, false))
    }

    /// A bundle of entries; `width` is from 1 to 256.
    pub(crate) fn of_entries(number: u64, width: u32) -> Self {
        Self(Tile::new(HEIGHT, 0, number, width, true))
    }

    /// Every tile of hashes and every bundle of a log of this size, the last of each row partial.
    #[must_use]
    pub fn all(size: u64) -> Vec<Self> {
        let hashes = Tile::new_tiles(HEIGHT, 0, size);
        let bundles = hashes.iter().filter(|tile| tile.level() == 0).map(|tile| {
            let mut bundle = *tile;
            bundle.set_is_data();
            bundle
        });
        let bundles: Vec<_> = bundles.collect();
        hashes.into_iter().chain(bundles).map(Self).collect()
    }

    /// The bundle that begins with entry `first`, a multiple of [`BUNDLE_MAX`], and ends before `end`.
    #[must_use]
    pub fn bundle_of(first: u64, end: u64) -> Option<Self> {
        let width = end
            .checked_sub(first)
            .filter(|width| (1..=BUNDLE_MAX).contains(width))?;
        let is_aligned = first.is_multiple_of(BUNDLE_MAX);
        is_aligned.then(|| Self(Tile::new(HEIGHT, 0, first >> HEIGHT, width as u32, true)))
    }

    /// The tile of hashes that has the hash of this index, as a log of `size` entries has it; `None`
    /// if the log is too small for it.
    #[must_use]
    pub fn holding(index: u64, size: u64) -> Option<Self> {
        let tile = Tile::from_index(HEIGHT, index);
        let (level, number) = (tile.level(), tile.level_index());
        let at_level = size.checked_shr(u32::from(HEIGHT) * u32::from(level))?;
        let there = at_level.checked_sub(number << HEIGHT)?.min(BUNDLE_MAX) as u32;
        let is_there = there >= tile.width();
        is_there.then(|| Self(Tile::new(HEIGHT, level, number, there, false)))
    }

    /// A hash in the bytes of a tile of hashes.
    #[must_use]
    pub fn hash_in(self, bytes: &[u8], index: u64) -> Option<Hash> {
        self.0.hash_at_index(bytes, index).ok()
    }

    /// Whether it holds entries, not hashes.
    #[must_use]
    pub fn is_bundle(self) -> bool {
        self.0.is_data()
    }

    /// Whether a log of `size` entries has it.
    #[must_use]
    pub fn is_within(self, size: u64) -> bool {
        let at_level = size.checked_shr(u32::from(HEIGHT) * u32::from(self.0.level()));
        let first = u128::from(self.0.level_index()) << HEIGHT;
        first + u128::from(self.0.width()) <= u128::from(at_level.unwrap_or(0))
    }

    /// The entries of a bundle: the first, and the one after the last.
    #[must_use]
    pub fn entries(self) -> (u64, u64) {
        let first = self.0.level_index() << HEIGHT;
        (first, first + u64::from(self.0.width()))
    }

    /// The first entry that the byte at `offset` has to do with, in the file of this tile.
    pub(crate) fn entry_at(self, file: &[u8], offset: usize) -> u64 {
        let (first, end) = self.entries();
        if !self.is_bundle() {
            let at = (first + (offset / HASH_SIZE) as u64).min(end - 1);
            return at << (HEIGHT * self.0.level());
        }
        let mut passed = 0;
        let entries = split_bundle(file).unwrap_or_default().into_iter();
        let before = entries.take_while(|entry| {
            passed += 2 + entry.len();
            passed <= offset
        });
        (first + before.count() as u64).min(end - 1)
    }

    /// Where the hashes of a tile lie in the order in which a log makes them.
    #[must_use]
    pub fn hash_indexes(self) -> Vec<u64> {
        let (first, end) = self.entries();
        let level = HEIGHT * self.0.level();
        (first..end).map(|n| stored_hash_index(level, n)).collect()
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.path();
        let rest = path.splitn(3, '/').nth(2).unwrap_or_default();
        match rest.strip_prefix("data/") {
            Some(number) => write!(f, "tile/entries/{number}"),
            None => write!(f, "tile/{rest}"),
        }
    }
}

/// The library panics beyond the highest level, and where a partial tile has nothing in it.
fn is_out_of_range(rest: &str) -> bool {
    let level = rest.split('/').next().and_then(|level| level.parse().ok());
    let width = rest
        .rsplit_once(".p/")
        .map(|(_, width)| width.parse::<u32>());
    level.is_some_and(|level: u8| level > LEVEL_MAX) || width == Some(Ok(0))
}

/// Entries one after the other, each with its length before it in two bytes, the higher first.
///
/// Entries that are too long cannot be in a log; see [`ENTRY_MAX_BYTES`].
#[must_use]
pub fn bundle<'e>(entries: impl IntoIterator<Item = &'e [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).expect("no longer entry gets into a log");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    bytes
}

/// The entries of a bundle; `None` if it does not end where its last entry does.
#[must_use]
pub fn split_bundle(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        entries.push(entry);
        bytes = rest;
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let all = TilePath::all(70_000);
        let paths: Vec<_> = all.iter().map(ToString::to_string).collect();
        for path in [
            "tile/0/000",
            "tile/0/273.p/112",
            "tile/1/000",
            "tile/1/001.p/17",
            "tile/2/000.p/1",
            "tile/entries/000",
            "tile/entries/273.p/112",
        ] {
            assert!(paths.iter().any(|known| known == path), "{path}");
            assert_eq!(TilePath::parse(path).unwrap().to_string(), path);
        }
        assert_eq!(
            TilePath::parse("tile/entries/x001/x234/067")
                .unwrap()
                .entries()
                .0,
            1_234_067 << 8
        );
        let wrong = [
            "tile/0/0",
            "tile/0/000.p/256",
            "tile/0/000.p/0",
            "tile/0/000.p/00",
            "tile/entries/000.p/+0",
            "tile/entries/data/000",
            "tile/data/000",
            "tile/8/0/000",
            "tile/0/../000",
            "tile/64/000",
            "checkpoint",
            "",
        ];
        for path in wrong {
            assert_eq!(TilePath::parse(path), None, "{path}");
        }
    }

    #[test]
    fn every_hash_is_found_in_a_tile() {
        use tlog_tiles::tlog::stored_hash_count;
        let mut tree = crate::Tree::default();
        let mut all = Vec::new();
        for n in 0..600_u64 {
            all.extend(tree.push_entry(&n.to_be_bytes()));
        }
        for index in 0..stored_hash_count(600) {
            let tile = TilePath::holding(index, 600).unwrap();
            assert!(tile.is_within(600), "{tile}");
            let bytes: Vec<u8> = tile
                .hash_indexes()
                .iter()
                .flat_map(|&at| all[at as usize].0)
                .collect();
            assert_eq!(
                tile.hash_in(&bytes, index),
                Some(all[index as usize]),
                "{index} in {tile}"
            );
        }
        assert_eq!(TilePath::holding(stored_hash_index(0, 600), 600), None);
    }

    #[test]
    fn a_tile_beyond_the_end_is_not_there() {
        let there = |path: &str, size| TilePath::parse(path).unwrap().is_within(size);
        assert!(there("tile/0/000.p/5", 5) && !there("tile/0/000.p/6", 5));
        assert!(there("tile/1/000.p/1", 256) && !there("tile/1/000.p/1", 255));
        assert!(there("tile/entries/001", 512) && !there("tile/entries/001", 511));
        assert!(!there("tile/63/000.p/1", u64::MAX));
    }

    #[test]
    fn bundles_come_apart_as_they_were_put_together() {
        let entries: [&[u8]; 3] = [b"one", b"", &[7; ENTRY_MAX_BYTES]];
        let bytes = bundle(entries);
        assert_eq!(split_bundle(&bytes).unwrap(), entries);
        assert_eq!(split_bundle(&bytes[..bytes.len() - 1]), None);
        assert_eq!(split_bundle(&[0]), None);
    }
}
