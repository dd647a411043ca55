//! `injection`: words by which people try to talk a model out of its instructions.
//!
//! A list of patterns and no classifier: it finds known turns of phrase and nothing else. A list
//! never changes once it is shipped, since rule sets name its version; a better one gets the next.

use super::TextPattern;

/// The shipped lists by the word that names them.
pub(crate) const LISTS: [(&str, InjectionList); 1] = [("v1", InjectionList { version: 1 })];

const V1: &str = include_str!("../../../rules/injection/v1.txt");

/// A shipped list of patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InjectionList {
    version: u32,
}

impl InjectionList {
    /// Its version: `v1` is 1.
    pub fn version(self) -> u32 {
        self.version
    }

    pub(crate) fn patterns(self) -> Vec<TextPattern> {
        let lines = V1.lines().map(str::trim);
        let patterns = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        patterns
            .map(|regex| TextPattern { regex, check: None })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// A set that names `v1` means these bytes. A better list is `v2`, in a file of its own.
    #[test]
    fn a_shipped_list_never_changes() {
        let digest = hex::encode(Sha256::digest(V1));
        assert_eq!(
            digest,
            include_str!("../../../rules/injection/v1.sha256").trim()
        );
    }
}
