"""Blocks are allocated once, and shared only if their contents are equal."""

import random

from baicai.serving.engine.block_pool import BlockPool

SIZE = 4


def test_released_blocks_become_available() -> None:
    pool = BlockPool(5, SIZE)
    first, filled = pool.allocate([], 3) or ([], 0)
    assert (len(set(first)), filled, pool.available) == (3, 0, 2)
    assert pool.allocate([], 3) is None
    pool.release(first)
    assert pool.available == 5


def test_a_prefix_is_shared_while_used_and_after_release() -> None:
    pool = BlockPool(6, SIZE)
    names = pool.hash_blocks(list(range(10)), ["law"])
    assert len(names) == 2
    first, _ = pool.allocate(names, 3) or ([], 0)
    for block, name in zip(first, names, strict=False):
        pool.share(block, name)
    second, filled = pool.allocate(names, 3) or ([], 0)
    assert (second[:2], filled) == (first[:2], 2)
    assert pool.available == 2
    pool.release(first)
    pool.release(second)
    third, filled = pool.allocate(names, 2) or ([], 0)
    assert (third, filled) == (first[:2], 2)


def test_other_leaves_or_prefixes_share_nothing() -> None:
    pool = BlockPool(6, SIZE)
    tokens = list(range(8))
    assert pool.hash_blocks(tokens, ["law"]) == pool.hash_blocks(tokens, ["law"])
    assert not set(pool.hash_blocks(tokens, ["law"])) & set(pool.hash_blocks(tokens, []))
    assert pool.hash_blocks([9, *tokens[1:]], [])[1] != pool.hash_blocks(tokens, [])[1], (
        "the second block alike, the first not"
    )


def test_the_least_recently_used_block_is_evicted_first() -> None:
    pool = BlockPool(4, SIZE)
    for number in range(2):
        names = pool.hash_blocks([number] * 8, [])
        blocks, _ = pool.allocate(names, 2) or ([], 0)
        for block, name in zip(blocks, names, strict=True):
            pool.share(block, name)
        pool.release(blocks)
    pool.allocate([], 2)
    assert pool.allocate(pool.hash_blocks([0] * 8, []), 0) == ([], 0)
    _, filled = pool.allocate(pool.hash_blocks([1] * 8, []), 2) or ([], 0)
    assert filled == 2


def test_no_block_is_lost_or_allocated_twice() -> None:
    draw, pool = random.Random(0), BlockPool(12, SIZE)
    texts: list[tuple[list[int], list[int]]] = []
    for _ in range(3000):
        if texts and draw.random() < 0.5:
            _, blocks = texts.pop(draw.randrange(len(texts)))
            pool.release(blocks)
        tokens = [draw.randrange(2) for _ in range(draw.randrange(1, 24))]
        names = pool.hash_blocks(tokens[:-1], [])
        taken = pool.allocate(names, -(-len(tokens) // SIZE))
        if taken is not None:
            blocks, filled = taken
            for block, name in list(zip(blocks, names, strict=False))[filled:]:
                pool.share(block, name)
            texts.append((tokens, blocks))
        users: dict[int, set[tuple[int, ...]]] = {}
        for tokens, blocks in texts:
            for number, block in enumerate(blocks):
                end = (number + 1) * SIZE
                users.setdefault(block, set()).add(tuple(tokens[:end]) if end < len(tokens) else (*tokens, -1))
        for sharing in users.values():
            assert len({one[:SIZE] for one in sharing}) == 1
        assert len(users) + pool.available == 12
