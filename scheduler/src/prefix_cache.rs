//! Finds blocks by what they hold: full blocks under a hash of all tokens up to their end.
//!
//! Keys and values of a token depend on every token before it, so a block is named by the chain:
//! the hash of its parent's name and its own tokens. Two blocks of one name hold the same.
//! The chain begins with the tenant, so no tenant can find (and time) what another one computed.
//! Source: the automatic prefix caching of vLLM, with a cryptographic hash: blocks are shared on
//! equality of the hash alone, so a collision would show one user's context to another.

use std::collections::HashMap;

use portcullis_types::{Tenant, TokenId};

use crate::{BLOCK_TOKENS, BlockId};

/// The name of what a full block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BlockHash([u8; 32]);

impl BlockHash {
    /// Where the chains of a tenant begin.
    pub(crate) fn root(tenant: Tenant) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"portcullis prefix cache 1");
        hasher.update(&tenant.0);
        Self(*hasher.finalize().as_bytes())
    }

    /// The name of the block that follows this one with exactly [`BLOCK_TOKENS`] `tokens`.
    pub(crate) fn child(&self, tokens: &[TokenId]) -> Self {
        assert_eq!(tokens.len(), BLOCK_TOKENS, "only full blocks have names");
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        for token in tokens {
            hasher.update(&token.to_le_bytes());
        }
        Self(*hasher.finalize().as_bytes())
    }
}

/// Which block holds what. Who evicts is the pool's business.
#[derive(Debug, Default)]
pub(crate) struct PrefixCache {
    blocks: HashMap<BlockHash, BlockId>,
}

impl PrefixCache {
    /// The blocks of the longest prefix of `chain` that is cached.
    pub(crate) fn longest_match(&self, chain: &[BlockHash]) -> Vec<BlockId> {
        chain
            .iter()
            .map_while(|hash| self.blocks.get(hash).copied())
            .collect()
    }

    /// Offers a block under its name; false when another block has it.
    pub(crate) fn insert(&mut self, hash: BlockHash, block: BlockId) -> bool {
        match self.blocks.entry(hash) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(block);
                true
            }
        }
    }

    /// No longer offers what is called so.
    pub(crate) fn remove(&mut self, hash: &BlockHash) {
        self.blocks.remove(hash);
    }
}
