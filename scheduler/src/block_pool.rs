//! Who holds which block: reference counts, the free list, and what to evict first.

use std::collections::BTreeMap;

use crate::prefix_cache::{BlockHash, PrefixCache};

/// A block of the KV cache: room for [`BLOCK_TOKENS`](crate::BLOCK_TOKENS) tokens in every layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// All blocks. Each is free, or cached without a reference (evictable), or referenced; a pinned
/// one may for the length of one plan be none of these.
#[derive(Debug)]
pub(crate) struct BlockPool {
    blocks: Vec<Block>,
    /// The next to take is the last.
    free: Vec<BlockId>,
    /// Cached blocks without a reference, by the time of their release: the oldest goes first.
    evictable: BTreeMap<u64, BlockId>,
    /// The time of `evictable`.
    releases: u64,
    /// Blocks with a reference.
    used: usize,
    cache: PrefixCache,
}

#[derive(Clone, Debug, Default)]
struct Block {
    references: u32,
    /// The name under which the prefix cache offers it.
    cached_as: Option<BlockHash>,
    /// Where it stands in `evictable`, while it does.
    released_at: u64,
    /// The source of a copy in the step that is being planned: not to be handed out in it.
    pinned: bool,
}

impl BlockPool {
    pub(crate) fn new(num_blocks: u32) -> Self {
        Self {
            blocks: vec![Block::default(); num_blocks as usize],
            free: (0..num_blocks).rev().map(BlockId).collect(),
            evictable: BTreeMap::new(),
            releases: 0,
            used: 0,
            cache: PrefixCache::default(),
        }
    }

    /// A block to write into, referenced once: a free one, else the cached one that has been
    /// without a reference for longest.
    pub(crate) fn take(&mut self) -> Option<BlockId> {
        let id = self.free.pop().or_else(|| self.evict())?;
        self.block(id).references = 1;
        self.used += 1;
        Some(id)
    }

    fn evict(&mut self) -> Option<BlockId> {
        let (_, id) = self.evictable.pop_first()?;
        self.uncache(id);
        Some(id)
    }

    /// One more reference to a block that is referenced or cached.
    pub(crate) fn retain(&mut self, id: BlockId) {
        let block = self.block(id);
        block.references += 1;
        let (first, released_at) = (block.references == 1, block.released_at);
        if first {
            let evictable = self.evictable.remove(&released_at);
            assert_eq!(
                evictable,
                Some(id),
                "only cached blocks outlive their references"
            );
            self.used += 1;
        }
    }

    /// One reference less. The last one leaves a cached block evictable and any other free.
    pub(crate) fn release(&mut self, id: BlockId) {
        let block = self.block(id);
        assert!(
            block.references > 0,
            "{id:?} is released more often than taken"
        );
        block.references -= 1;
        if block.references == 0 {
            self.used -= 1;
            self.park(id);
        }
    }

    /// A block for a copy of `from`, in exchange for one reference to it; `None` when there is
    /// none, and then nothing has changed.
    ///
    /// `from` is not handed out before [`end_copies`](Self::end_copies), so that copies of one
    /// step never depend on their order.
    pub(crate) fn take_copy(&mut self, from: BlockId) -> Option<BlockId> {
        let to = self.take()?;
        self.block(from).pinned = true;
        self.release(from);
        Some(to)
    }

    /// The plan is made: the sources of its copies are blocks like others again.
    pub(crate) fn end_copies(&mut self, copies: &[(BlockId, BlockId)]) {
        for &(from, _) in copies {
            let block = self.block(from);
            let (was_pinned, unreferenced) = (block.pinned, block.references == 0);
            block.pinned = false;
            if was_pinned && unreferenced {
                self.park(from);
            }
        }
    }

    /// Puts a block without references where it can be taken from, unless it is pinned.
    fn park(&mut self, id: BlockId) {
        self.releases += 1;
        let now = self.releases;
        let block = self.block(id);
        if block.pinned {
            return;
        }
        if block.cached_as.is_some() {
            block.released_at = now;
            self.evictable.insert(now, id);
        } else {
            self.free.push(id);
        }
    }

    /// Offers a full, computed block to others; when one with the same content is offered
    /// already, this one stays private.
    pub(crate) fn cache(&mut self, id: BlockId, hash: BlockHash) {
        if self.block(id).cached_as.is_none() && self.cache.insert(hash, id) {
            self.block(id).cached_as = Some(hash);
        }
    }

    /// No longer offers a block, because what it holds is about to change.
    pub(crate) fn uncache(&mut self, id: BlockId) {
        if let Some(hash) = self.block(id).cached_as.take() {
            self.cache.remove(&hash);
        }
    }

    /// The cached blocks of the longest prefix of `chain`. They are not referenced by this.
    pub(crate) fn longest_match(&self, chain: &[BlockHash]) -> Vec<BlockId> {
        self.cache.longest_match(chain)
    }

    /// Whether somebody else would see what is written into a block that one holds.
    pub(crate) fn is_shared(&self, id: BlockId) -> bool {
        self.blocks[id.0 as usize].references > 1
    }

    pub(crate) fn is_referenced(&self, id: BlockId) -> bool {
        self.blocks[id.0 as usize].references > 0
    }

    /// Blocks that [`take`](Self::take) can give.
    pub(crate) fn num_available(&self) -> usize {
        self.free.len() + self.evictable.len()
    }

    pub(crate) fn num_total(&self) -> usize {
        self.blocks.len()
    }

    pub(crate) fn num_used(&self) -> usize {
        self.used
    }

    pub(crate) fn num_cached(&self) -> usize {
        self.evictable.len()
    }

    pub(crate) fn num_free(&self) -> usize {
        self.free.len()
    }

    fn block(&mut self, id: BlockId) -> &mut Block {
        &mut self.blocks[id.0 as usize]
    }
}
