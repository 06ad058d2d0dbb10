"""Batched decoding against decoding each sequence alone."""

import ctypes
import mmap
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baicai.errors import MachineError
from baicai.inference.batch_decoder import MAX_BATCH_TOKENS, BatchDecoder, SequenceChunk
from baicai.inference.decoder import CompiledDecoder
from baicai.inference.quantize import load_int8_weights
from baicai.model.config import GQAConfig, MLAConfig
from baicai.model.transformer import Transformer
from tests.inference.test_decoder import TOKENS, joined
from tests.model.conftest import GQA, MLA, grown

SETS = [["leaf-0", "leaf-1", "leaf-2"], ["leaf-1"], [], ["leaf-0", "leaf-2"]]
TEXTS = [TOKENS[:23], TOKENS[5:30], TOKENS[10:21], TOKENS[2:40]]


@pytest.fixture(params=[1, 2], ids=["one-thread", "two-threads"], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def alone(model: Transformer, tokens: list[int], leaves: list[str]) -> NDArray[np.float32]:
    """Return the logits of a model that has only these leaves."""
    other = joined(model.config.attention, 0, model.topk_group)
    for name in leaves:
        other.join(name, grown(other, int(name[-1])))
    decoder = CompiledDecoder(other, leaves)
    return np.concatenate([decoder.step([token]).logits_NV.numpy() for token in tokens])


def in_turns(decoder: BatchDecoder, sizes: list[int]) -> list[NDArray[np.float32]]:
    """Return the logits of the texts, decoded in chunks of the given sizes."""
    done, logits = [0] * len(TEXTS), [list[NDArray[np.float32]]() for _ in TEXTS]
    while any(position < len(text) for position, text in zip(done, TEXTS, strict=True)):
        chunks = []
        for number, (text, size) in enumerate(zip(TEXTS, sizes, strict=True)):
            tokens = text[done[number] : done[number] + size]
            if tokens:
                chunks.append(
                    SequenceChunk(number, tokens, done[number], decoder.leaf_mask(SETS[number]), all_logits=True)
                )
            done[number] += len(tokens)
        for chunk, output in zip(chunks, decoder.step(chunks), strict=True):
            logits[chunk.slot].append(output.logits_NV.copy())
    return [np.concatenate(rows) for rows in logits]


@pytest.mark.parametrize("attention", [GQA, MLA], ids=["gqa", "mla"])
@pytest.mark.parametrize("topk_group", [1, 2, 9])
@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [7, 1, 11, 3]])
def test_each_sequence_has_the_bits_it_has_alone(
    attention: GQAConfig | MLAConfig, topk_group: int, sizes: list[int]
) -> None:
    model = joined(attention, 3, topk_group)
    decoder = BatchDecoder(model, max_sequences=4, num_blocks=40, block_tokens=4)
    scattered = np.random.default_rng(0).permutation(40).reshape(4, 10)
    for number, blocks in enumerate(scattered.tolist()):
        decoder.set_blocks(number, blocks)
    for text, leaves, logits_NV in zip(TEXTS, SETS, in_turns(decoder, sizes), strict=True):
        assert np.array_equal(logits_NV, alone(model, text, leaves))


def test_leaf_weights_cover_active_leaves_only() -> None:
    model = joined()
    decoder = BatchDecoder(model, max_sequences=2, num_blocks=8, block_tokens=8)
    for number in range(2):
        decoder.set_blocks(number, range(number * 4, number * 4 + 4))
    chunks = [
        SequenceChunk(0, TOKENS[:5], 0, decoder.leaf_mask(["leaf-1"])),
        SequenceChunk(1, TOKENS[:5], 0, decoder.leaf_mask([])),
    ]
    active, inactive = decoder.step(chunks)
    assert (active.leaf_weights_SG[:, 1] > 0).all()
    assert not active.leaf_weights_SG[:, [0, 2]].any()
    assert not inactive.leaf_weights_SG.any()


def test_int8_weights_work_in_a_batch() -> None:
    model = joined()
    int8 = {name: load_int8_weights(f"batch-{name}", leaf.state_dict()) for name, leaf in model.leaves.items()}
    int8 |= {"": load_int8_weights("batch", model.trunk_tensors())}
    decoder = BatchDecoder(model, max_sequences=4, num_blocks=40, block_tokens=4, int8=int8)
    for number in range(4):
        decoder.set_blocks(number, range(number * 10, number * 10 + 10))
    logits = in_turns(decoder, [1, 2, 3, 4])
    for text, leaves, logits_NV in zip(TEXTS, SETS, logits, strict=True):
        single = CompiledDecoder(model, leaves, None, int8)
        expected = np.concatenate([single.step([token]).logits_NV.numpy() for token in text])
        assert np.array_equal(logits_NV, expected)


def test_an_inactive_leaf_is_not_read() -> None:
    model = joined()
    pages = []
    for name, parameter in model.leaves["leaf-2"].named_parameters():
        page = mmap.mmap(-1, max(mmap.PAGESIZE, parameter.numel() * 4))
        data = torch.frombuffer(page, dtype=torch.float32)[: parameter.numel()].view_as(parameter)
        data.copy_(parameter.detach())
        parameter.data = data
        pages.append((name, page, data))
    decoder = BatchDecoder(model, max_sequences=2, num_blocks=8, block_tokens=8)
    for number in range(2):
        decoder.set_blocks(number, range(number * 4, number * 4 + 4))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    for _, page, data in pages:
        assert protect(ctypes.c_void_p(data.data_ptr()), ctypes.c_size_t(len(page)), 0) == 0
    chunks = [
        SequenceChunk(0, TOKENS[:9], 0, decoder.leaf_mask(["leaf-0", "leaf-1"])),
        SequenceChunk(1, TOKENS[:9], 0, decoder.leaf_mask([])),
    ]
    assert np.isfinite(decoder.step(chunks)[0].logits_NV).all()
    for _, page, data in pages:
        protect(ctypes.c_void_p(data.data_ptr()), ctypes.c_size_t(len(page)), mmap.PROT_READ | mmap.PROT_WRITE)


def test_a_full_batch_gives_equal_sequences_equal_logits() -> None:
    decoder = BatchDecoder(joined(), max_sequences=MAX_BATCH_TOKENS, num_blocks=MAX_BATCH_TOKENS, block_tokens=40)
    for number in range(MAX_BATCH_TOKENS):
        decoder.set_blocks(number, [number])
    chunks = [SequenceChunk(number, [TOKENS[0]], 0, decoder.leaf_mask(SETS[0])) for number in range(MAX_BATCH_TOKENS)]
    logits = [output.logits_NV for output in decoder.step(chunks)]
    assert all(np.array_equal(row, logits[0]) for row in logits)


def test_a_cache_larger_than_memory_is_one_clear_error() -> None:
    with pytest.raises(MachineError, match=r"not enough memory for a KV cache of 40,000,000,000,000,000 tokens: lower"):
        BatchDecoder(joined(), max_sequences=1, num_blocks=10**15, block_tokens=40)
