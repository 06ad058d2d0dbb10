"""Block allocator for the paged KV cache, with prefix sharing and LRU reuse.

A full block is identified by a hash over the active leaves and all tokens up to the end of the block. Blocks that no
sequence uses keep their contents until their memory is needed; the least recently used one is evicted first.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Sequence

import numpy as np

BlockHash = bytes
"""Hash over the active leaves and all tokens up to the end of a block."""


class BlockPool:
    """Tracks which blocks are free, in use, or idle with reusable contents."""

    def __init__(self, num_blocks: int, block_tokens: int) -> None:
        self.block_tokens = block_tokens
        self._free = list(range(num_blocks))[::-1]
        self._num_users = [0] * num_blocks
        self._hashes: dict[int, BlockHash] = {}
        self._block_by_hash: dict[BlockHash, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        """Unused blocks with a hash, least recently used first."""

    @property
    def available(self) -> int:
        """Number of blocks that can be allocated."""
        return len(self._free) + len(self._idle)

    def hash_blocks(self, tokens: Sequence[int], leaves: Collection[str]) -> list[BlockHash]:
        """Return the hashes of the full blocks of a sequence."""
        digest, hashes = hashlib.blake2b("\n".join(sorted(leaves)).encode(), digest_size=16).digest(), []
        for end in range(self.block_tokens, len(tokens) + 1, self.block_tokens):
            content = np.asarray(tokens[end - self.block_tokens : end], np.int64).tobytes()
            digest = hashlib.blake2b(digest + content, digest_size=16).digest()
            hashes.append(digest)
        return hashes

    def allocate(self, hashes: Sequence[BlockHash], num_blocks: int) -> tuple[list[int], int] | None:
        """Allocate blocks for a sequence, reusing cached prefix blocks.

        Args:
            hashes: of the prefix that may be shared. It must not include the last token, which has to be read to
                predict the next one.
            num_blocks: total number of blocks, shared ones included.

        Returns: the block ids and how many of them are already filled, or None if the pool is exhausted.
        """
        shared = []
        for block_hash in hashes[:num_blocks]:
            if block_hash not in self._block_by_hash:
                break
            shared.append(self._block_by_hash[block_hash])
        idle = sum(block in self._idle for block in shared)
        if num_blocks - len(shared) > self.available - idle:
            return None
        for block in shared:
            self._idle.pop(block, None)
        blocks = shared + [self._take_free() for _ in range(num_blocks - len(shared))]
        for block in blocks:
            self._num_users[block] += 1
        return blocks, len(shared)

    def share(self, block: int, block_hash: BlockHash) -> None:
        """Make a filled block available to other sequences; of equal blocks, the first one is kept."""
        if block_hash not in self._block_by_hash and block not in self._hashes:
            self._block_by_hash[block_hash], self._hashes[block] = block, block_hash

    def release(self, blocks: Sequence[int]) -> None:
        """Return a sequence's blocks to the pool."""
        for block in reversed(blocks):  # The end of a sequence is the least likely to be reused, so evict it first.
            self._num_users[block] -= 1
            if self._num_users[block] == 0:
                if block in self._hashes:
                    self._idle[block] = None
                else:
                    self._free.append(block)

    def _take_free(self) -> int:
        if self._free:
            return self._free.pop()
        block, _ = self._idle.popitem(last=False)
        del self._block_by_hash[self._hashes.pop(block)]
        return block
