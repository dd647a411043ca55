//! The Merkle tree of a log, of which only the right edge is kept.

use tlog_tiles::tlog::{EMPTY_HASH, Hash, node_hash, record_hash};

/// A tree that grows at its right end (RFC 6962, section 2.1).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    size: u64,
    /// Roots of the whole subtrees, the largest first: one for each bit of `size`.
    edge: Vec<Hash>,
}

impl Tree {
    /// A tree of `size` leaves from the roots of its whole subtrees, the largest first; `None` if
    /// there are not as many as such a tree has.
    #[must_use]
    pub fn from_edge(size: u64, edge: Vec<Hash>) -> Option<Self> {
        (edge.len() == size.count_ones() as usize).then_some(Self { size, edge })
    }

    /// Leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf. Gives the hashes that are known from now on: of the leaf, and of each subtree
    /// that it completes, from the leaf upwards.
    pub fn push(&mut self, leaf: Hash) -> Vec<Hash> {
        let completed = self.size.trailing_ones() as usize;
        let mut hashes = Vec::with_capacity(1 + completed);
        let mut hash = leaf;
        hashes.push(hash);
        for left in self.edge.drain(self.edge.len() - completed..).rev() {
            hash = node_hash(left, hash);
            hashes.push(hash);
        }
        self.edge.push(hash);
        self.size += 1;
        hashes
    }

    /// Adds an entry: [`Self::push`] with the hash of its leaf.
    pub fn push_entry(&mut self, entry: &[u8]) -> Vec<Hash> {
        self.push(record_hash(entry))
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut from_the_right = self.edge.iter().rev();
        let Some(&last) = from_the_right.next() else {
            return EMPTY_HASH;
        };
        from_the_right.fold(last, |right, &left| node_hash(left, right))
    }
}

#[cfg(test)]
mod tests {
    use tlog_tiles::tlog::{self, HashReader, stored_hash_index};

    use super::*;

    /// The hashes of a whole tree, in the order in which they become known.
    struct All(Vec<Hash>);

    impl HashReader for All {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog::Error> {
            Ok(indexes
                .iter()
                .map(|&index| self.0[index as usize])
                .collect())
        }
    }

    #[test]
    fn roots_and_hashes_are_those_of_the_library_at_every_size() {
        let (mut tree, mut all) = (Tree::default(), All(Vec::new()));
        assert_eq!(tree.root(), EMPTY_HASH);
        for n in 0..300_u64 {
            let entry = n.to_string();
            assert_eq!(all.0.len() as u64, stored_hash_index(0, n));
            let hashes = tree.push_entry(entry.as_bytes());
            assert_eq!(
                hashes,
                tlog::stored_hashes(n, entry.as_bytes(), &all).unwrap()
            );
            all.0.extend(hashes);
            assert_eq!(tree.root(), tlog::tree_hash(n + 1, &all).unwrap());
        }
        let indexes = tlog::sub_tree_index(0, 300, Vec::new());
        let edge = all.read_hashes(&indexes).unwrap();
        assert_eq!(Tree::from_edge(300, edge.clone()), Some(tree));
        assert_eq!(Tree::from_edge(301, edge), None);
    }
}
