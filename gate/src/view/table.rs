//! Folds that were worked out before.

use std::sync::OnceLock;

use super::each_folded;
use crate::ruleset::Normalise;

/// The folds of the first planes of Unicode, where nearly all text is. A page is filled when a
/// character of it is first seen: about 3 KiB, once in a process.
pub(super) struct FoldTable {
    normalise: Normalise,
    pages: [OnceLock<Box<Page>>; NUM_PAGES],
}

/// The folds of some characters that follow each other.
struct Page {
    /// In UTF-8, one after the other.
    folds: Vec<u8>,
    /// Where each ends.
    ends: [usize; PAGE_CHARACTERS],
}

const PAGE_CHARACTERS: usize = 256;
/// The planes of living scripts and of emoji.
const NUM_PAGES: usize = 0x2_0000 / PAGE_CHARACTERS;

impl FoldTable {
    pub(super) const fn new(normalise: Normalise) -> Self {
        Self {
            normalise,
            pages: [const { OnceLock::new() }; NUM_PAGES],
        }
    }

    /// What `character` folds to, in UTF-8; `None` beyond the pages.
    pub(super) fn get(&self, character: char) -> Option<&[u8]> {
        let code = u32::from(character) as usize;
        let page = self.pages.get(code / PAGE_CHARACTERS)?;
        let page = page.get_or_init(|| Box::new(Page::new(self.normalise, code)));
        Some(page.get(code % PAGE_CHARACTERS))
    }
}

impl Page {
    /// The page of the character with this code.
    fn new(normalise: Normalise, code: usize) -> Self {
        let first = code - code % PAGE_CHARACTERS;
        let (mut folds, mut ends) = (Vec::new(), [0; PAGE_CHARACTERS]);
        for (end, code) in ends.iter_mut().zip(first..) {
            let character = u32::try_from(code).ok().and_then(char::from_u32);
            if let Some(character) = character {
                each_folded(normalise, character, |part| {
                    folds.extend_from_slice(part.encode_utf8(&mut [0; 4]).as_bytes());
                });
            }
            *end = folds.len();
        }
        folds.shrink_to_fit();
        Self { folds, ends }
    }

    fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.folds[start..self.ends[index]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_would_be_worked_out() {
        for normalise in [Normalise::Basic, Normalise::Strict] {
            let table = FoldTable::new(normalise);
            for character in '\0'..=char::MAX {
                let mut worked_out = String::new();
                each_folded(normalise, character, |part| worked_out.push(part));
                let is_kept = u32::from(character) < 0x2_0000;
                let expected = is_kept.then_some(worked_out.as_bytes());
                assert_eq!(table.get(character), expected, "{character:?}");
            }
        }
    }
}
