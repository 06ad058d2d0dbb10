"""Who runs in the speed benchmark: Baicai, llama.cpp and transformers, each told to do the same."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from baicai.inference.decoder import CompiledDecoder
from baicai.inference.int8 import Int8, quantized
from baicai.leaves.join import SparseModel
from baicai.model.transformer import Transformer
from baicai.training.losses import linear_cross_entropy

PROMPT_TOKENS, DECODE_TOKENS, PREFILL_TOKENS = 16, 128, 512
BATCH = (8, 256)
Act = Callable[[], int]
"""Does a round of work and returns for how many tokens."""


def some_tokens(count: int, vocab: int, seed: int = 0) -> list[int]:
    """Return a text, the same for everyone."""
    tokens: list[int] = np.random.default_rng(seed).integers(0, vocab, count).tolist()
    return tokens


def texts(count: int, vocab: int) -> Iterator[list[int]]:
    """Yield a text for each round: none is read twice, and experts get other numbers of rows each time."""
    return (some_tokens(count, vocab, seed) for seed in itertools.count())


def int8_of(model: SparseModel) -> Int8:
    """Return a model's weights in int8."""
    int8 = {name: quantized(leaf.hash, leaf.leaf.state_dict()) for name, leaf in model.leaves.items()}
    return int8 | {"": quantized(model.trunk.hash, model.model.trunk_tensors())}


def our_decode(model: SparseModel, kind: str) -> Act:
    """Return greedy decoding by the compiled step; kind is f32, bf16 or q8."""
    network = model.model.float() if kind == "f32" else model.model.bfloat16()
    decoder = CompiledDecoder(network, list(network.leaves), None, int8_of(model) if kind == "q8" else None)

    def act() -> int:
        decoder.length = PROMPT_TOKENS
        token = 5
        for _ in range(DECODE_TOKENS):
            token = int(decoder.step([token]).logits_NV[0].argmax())
        return DECODE_TOKENS

    decoder.step(some_tokens(PROMPT_TOKENS, network.config.vocab_size))
    return act


def our_prefill(model: SparseModel, kind: str) -> Act:
    """Return reading a prompt at once."""
    network = model.model.float() if kind == "f32" else model.model.bfloat16()
    decoder = CompiledDecoder(network, list(network.leaves))
    rounds = texts(PREFILL_TOKENS, network.config.vocab_size)

    def act() -> int:
        decoder.length = 0
        decoder.step(next(rounds))
        return PREFILL_TOKENS

    return act


def llama_cpp(file: Path, threads: int) -> tuple[Act, Act]:
    """Return greedy decoding and prefill by llama.cpp, through its own C interface."""
    import llama_cpp as engine

    model = engine.Llama(
        str(file), n_ctx=1024, n_batch=PREFILL_TOKENS, n_ubatch=PREFILL_TOKENS, n_threads=threads,
        n_threads_batch=threads, verbose=False,
    )  # fmt: skip
    vocab, context = model.n_vocab(), model._ctx.ctx
    prompt, rounds = some_tokens(PROMPT_TOKENS, vocab), texts(PREFILL_TOKENS, vocab)

    def decode() -> int:
        model.reset()
        model._ctx.kv_cache_clear()
        model.eval(prompt)
        token = (engine.llama_token * 1)(5)
        for _ in range(DECODE_TOKENS):
            engine.llama_decode(context, engine.llama_batch_get_one(token, 1))
            logits = np.ctypeslib.as_array(engine.llama_get_logits_ith(context, -1), shape=(vocab,))
            token[0] = int(logits.argmax())
        return DECODE_TOKENS

    def prefill() -> int:
        model.reset()
        model._ctx.kv_cache_clear()
        model.eval(next(rounds))
        return PREFILL_TOKENS

    return decode, prefill


def their_network(folder: Path, dtype: torch.dtype, implementation: str) -> Any:
    """Return transformers' network of an export."""
    import transformers

    transformers.logging.disable_progress_bar()
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    network.set_experts_implementation(implementation)
    return network


def their_decode(network: Any) -> Act:
    """Return greedy decoding by transformers, by its own forward pass and cache."""

    @torch.inference_mode()
    def act() -> int:
        vocab = network.config.vocab_size
        out = network(torch.tensor([some_tokens(PROMPT_TOKENS, vocab)]), use_cache=True, logits_to_keep=1)
        token = torch.tensor([[5]])
        for _ in range(DECODE_TOKENS // 4):
            out = network(token, past_key_values=out.past_key_values, use_cache=True)
            token = out.logits[:, -1].argmax(-1, keepdim=True)
        return DECODE_TOKENS // 4

    return act


def their_prefill(network: Any) -> Act:
    """Return reading a prompt by transformers."""
    rounds = texts(PREFILL_TOKENS, network.config.vocab_size)

    @torch.inference_mode()
    def act() -> int:
        network(torch.tensor([next(rounds)]), use_cache=True, logits_to_keep=1)
        return PREFILL_TOKENS

    return act


def training(parameters: Sequence[torch.nn.Parameter], loss_of: Callable[[], torch.Tensor]) -> Act:
    """Return one step: forward, backward, AdamW."""
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

    def act() -> int:
        loss_of().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return BATCH[0] * BATCH[1]

    return act


def next_token_loss(network: Transformer, hidden_BSD: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return what our stages train on."""
    return linear_cross_entropy(hidden_BSD.flatten(0, 1), network.head_weight(), rows[:, 1:].flatten())


def our_training(network: Transformer, bfloat16: bool) -> Act:
    """Return a step on all of our network's parameters, which are float32."""
    rounds = texts(BATCH[0] * (BATCH[1] + 1), network.config.vocab_size)

    def loss_of() -> torch.Tensor:
        rows = torch.tensor(next(rounds)).view(BATCH[0], -1)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return next_token_loss(network, network.hidden(rows[:, :-1]), rows)

    return training(list(network.float().requires_grad_(True).parameters()), loss_of)


def our_growing(network: Transformer, leaf: str) -> Act:
    """Return a step on one leaf's parameters, with what the layers below it say cached; recognition is left out."""
    rows = torch.tensor(some_tokens(BATCH[0] * (BATCH[1] + 1), network.config.vocab_size)).view(BATCH[0], -1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        lower_BSD = network.lower(rows[:, :-1])

    def loss_of() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return next_token_loss(network, network.upper(lower_BSD), rows)

    return training(list(network.leaves[leaf].parameters()), loss_of)


def their_training(network: Any, autocast: bool) -> Act:
    """Return a step on all of transformers' parameters."""
    rounds = texts(BATCH[0] * BATCH[1], network.config.vocab_size)

    def loss_of() -> torch.Tensor:
        rows = torch.tensor(next(rounds)).view(BATCH[0], -1)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss: torch.Tensor = network(rows, labels=rows).loss
            return loss

    return training(list(network.train().parameters()), loss_of)
