"""Blocks of the memory in which texts keep what attention reads: given out, shared by equal beginnings, taken back.

A full block is known by what leads to it: the leaves that are on and all tokens up to its end. Blocks that no text uses
stay as long as nobody needs the room, the longest unused go first.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Sequence

import numpy as np

Name = bytes
"""Of a block: a hash over leaves and tokens."""


class BlockPool:
    """Says which block is whose."""

    def __init__(self, blocks: int, block_tokens: int) -> None:
        self.block_tokens = block_tokens
        self._free = list(range(blocks))[::-1]
        self._users = [0] * blocks
        self._names: dict[int, Name] = {}
        self._known: dict[Name, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        """Blocks with a name that no text uses, the longest unused first."""

    @property
    def available(self) -> int:
        """Blocks that can be given out."""
        return len(self._free) + len(self._idle)

    def names(self, tokens: Sequence[int], leaves: Collection[str]) -> list[Name]:
        """Return the names of the full blocks of a text."""
        name, found = hashlib.blake2b("\n".join(sorted(leaves)).encode(), digest_size=16).digest(), []
        for end in range(self.block_tokens, len(tokens) + 1, self.block_tokens):
            content = np.asarray(tokens[end - self.block_tokens : end], np.int64).tobytes()
            name = hashlib.blake2b(name + content, digest_size=16).digest()
            found.append(name)
        return found

    def take(self, names: Sequence[Name], blocks: int) -> tuple[list[int], int] | None:
        """Give a text so many blocks, and return them with how many of the first are filled already; None if too few.

        `names` are those of its beginning that it may share: not its last token, which has to be read to go on.
        """
        shared = []
        for name in names[:blocks]:
            if name not in self._known:
                break
            shared.append(self._known[name])
        idle = sum(block in self._idle for block in shared)
        if blocks - len(shared) > self.available - idle:
            return None
        for block in shared:
            self._idle.pop(block, None)
        taken = shared + [self._new() for _ in range(blocks - len(shared))]
        for block in taken:
            self._users[block] += 1
        return taken, len(shared)

    def name(self, block: int, name: Name) -> None:
        """Let others share a block that has been filled; the first of equal ones is kept."""
        if name not in self._known and block not in self._names:
            self._known[name], self._names[block] = block, name

    def give_back(self, blocks: Sequence[int]) -> None:
        """Take a text's blocks back."""
        for block in reversed(blocks):  # of a text's idle blocks the last go first
            self._users[block] -= 1
            if self._users[block] == 0:
                if block in self._names:
                    self._idle[block] = None
                else:
                    self._free.append(block)

    def forget(self) -> None:
        """Let nobody share what was filled so far: the model has changed."""
        self._free += self._idle
        self._idle.clear()
        self._names.clear()
        self._known.clear()

    def _new(self) -> int:
        if self._free:
            return self._free.pop()
        block, _ = self._idle.popitem(last=False)
        del self._known[self._names.pop(block)]
        return block
