"""Workloads of the speed benchmark for Baicai, llama.cpp and transformers."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from baicai.data.batches import Batch
from baicai.data.sources import SourceConfig
from baicai.inference.cpu.weight_table import Int8Weights
from baicai.inference.decoder import CompiledDecoder, Decoder
from baicai.inference.generate import DraftStats, SamplingConfig, generate
from baicai.inference.quantize import load_int8_weights
from baicai.leaves.grow import GrowRecipe, leaf_loss
from baicai.leaves.model import SparseModel
from baicai.model.transformer import Transformer
from baicai.training.compile import MIN_COMPILED_STEPS, compile_if_worthwhile
from baicai.training.config import TrainConfig
from baicai.training.loop import mixed_precision
from baicai.training.losses import linear_cross_entropy

PROMPT_TOKENS, DECODE_TOKENS, PREFILL_TOKENS = 16, 128, 512
BATCH = (8, 256)
Workload = Callable[[], int]
"""Runs one round and returns its number of tokens."""


def some_tokens(count: int, vocab: int, seed: int = 0) -> list[int]:
    """Return random tokens, the same for all parties."""
    tokens: list[int] = np.random.default_rng(seed).integers(0, vocab, count).tolist()
    return tokens


def texts(count: int, vocab: int) -> Iterator[list[int]]:
    """Yield new random tokens for each round, so that the numbers of rows per expert vary."""
    return (some_tokens(count, vocab, seed) for seed in itertools.count())


def int8_of(model: SparseModel) -> Int8Weights:
    """Return a model's weights in int8."""
    int8 = {name: load_int8_weights(leaf.hash, leaf.experts.state_dict()) for name, leaf in model.leaves.items()}
    return int8 | {"": load_int8_weights(model.trunk.hash, model.network.trunk_tensors())}


def stored_in(network: Transformer, kind: str) -> Transformer:
    """Convert a network's matrices to float32 (f32), or, except routers, to bfloat16, as in artefacts."""
    network.float()
    for name, parameter in network.named_parameters():
        if kind != "f32" and parameter.ndim >= 2 and "router" not in name:
            parameter.data = parameter.data.bfloat16()
    return network


def our_decode(model: SparseModel, kind: str) -> Workload:
    """Return greedy decoding with the compiled step; kind is f32, bf16 or q8."""
    network = stored_in(model.network, kind)
    decoder = CompiledDecoder(network, list(network.leaves), None, int8_of(model) if kind == "q8" else None)
    return decoding(decoder, network.config.vocab_size)


def decoding(decoder: Decoder, vocab: int) -> Workload:
    """Return greedy decoding after a prompt."""
    prompt = some_tokens(PROMPT_TOKENS, vocab)

    def run() -> int:
        decoder.length = 0
        decoder.step(prompt)
        token = 5
        for _ in range(DECODE_TOKENS):
            token = int(decoder.step([token]).logits_NV[0].argmax())
        return DECODE_TOKENS

    return run


def our_generation(
    network: Transformer, int8: Int8Weights | None, prompts: Sequence[list[int]], speculate: int
) -> tuple[Workload, DraftStats]:
    """Return greedy generation with `speculate` drafted tokens, and the statistics of accepted drafts."""
    decoder, stats = CompiledDecoder(network, [], None, int8), DraftStats()
    sampling = SamplingConfig(max_tokens=DECODE_TOKENS, temperature=0, speculate=speculate)
    rounds = itertools.cycle(prompts)

    def run() -> int:
        decoder.length = 0
        return len(list(generate(decoder, next(rounds), sampling, drafts=stats)))

    return run, stats


def our_prefill(model: SparseModel, kind: str) -> Workload:
    """Return prefilling a prompt."""
    network = stored_in(model.network, kind)
    decoder = CompiledDecoder(network, list(network.leaves))
    rounds = texts(PREFILL_TOKENS, network.config.vocab_size)

    def run() -> int:
        decoder.length = 0
        decoder.step(next(rounds))
        return PREFILL_TOKENS

    return run


def llama_cpp(file: Path, threads: int) -> tuple[Workload, Workload]:
    """Return greedy decoding and prefilling by llama.cpp, through its C interface."""
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
    """Load an export in transformers."""
    import transformers

    transformers.logging.disable_progress_bar()
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    network.set_experts_implementation(implementation)
    return network


def their_decode(network: Any) -> Workload:
    """Return greedy decoding by transformers, with its own forward pass and KV cache."""

    @torch.inference_mode()
    def run() -> int:
        prompt = torch.tensor([some_tokens(PROMPT_TOKENS, network.config.vocab_size)], device=network.device)
        out = network(prompt, use_cache=True, logits_to_keep=1)
        token = torch.tensor([[5]], device=network.device)
        for _ in range(DECODE_TOKENS):
            out = network(token, past_key_values=out.past_key_values, use_cache=True)
            token = out.logits[:, -1].argmax(-1, keepdim=True)
        return DECODE_TOKENS

    return run


def their_prefill(network: Any) -> Workload:
    """Return prefilling a prompt by transformers."""
    rounds = texts(PREFILL_TOKENS, network.config.vocab_size)

    @torch.inference_mode()
    def run() -> int:
        network(torch.tensor([next(rounds)]), use_cache=True, logits_to_keep=1)
        return PREFILL_TOKENS

    return run


def training(
    parameters: Sequence[torch.nn.Parameter], loss_of: Callable[[], torch.Tensor], batch: tuple[int, int] = BATCH
) -> Workload:
    """Return a training step: forward, backward and AdamW."""
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

    def run() -> int:
        loss_of().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return batch[0] * batch[1]

    return run


def next_token_loss(network: Transformer, hidden_BSD: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return the loss of Baicai's training stages."""
    return linear_cross_entropy(hidden_BSD.flatten(0, 1), network.head_weight(), rows[:, 1:].flatten())


def our_training(network: Transformer, bfloat16: bool, batch: tuple[int, int] = BATCH) -> Workload:
    """Return a training step of all parameters of a Baicai network, in float32."""
    rounds = texts(batch[0] * (batch[1] + 1), network.config.vocab_size)
    device = network.embedding.weight.device
    hidden = compile_if_worthwhile(network.hidden, device, MIN_COMPILED_STEPS)

    def loss_of() -> torch.Tensor:
        rows = torch.tensor(next(rounds)).view(batch[0], -1).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            return next_token_loss(network, hidden(rows[:, :-1]), rows)

    return training(list(network.float().requires_grad_(True).parameters()), loss_of, batch)


def our_growing(network: Transformer, leaf: str) -> Workload:
    """Return a training step of one leaf, with cached activations of the layers below for a few batches."""
    train_config = TrainConfig(tokens=1)
    config = GrowRecipe(name=leaf, trunk="", data=[SourceConfig(path="")], train=train_config)
    source_B, cached = torch.arange(BATCH[0]) % 2, []
    for text in itertools.islice(texts(BATCH[0] * (BATCH[1] + 1), network.config.vocab_size), 4):
        batch = Batch(torch.tensor(text).view(BATCH[0], -1), source_B, torch.full_like(source_B, len(cached)))
        with torch.no_grad(), mixed_precision(train_config, torch.device("cpu")):
            cached.append((batch, network.lower(batch.tokens_BS1[:, :-1])))
    rounds = itertools.cycle(batch for batch, _ in cached)
    loss_of = leaf_loss(network, 1, config, lambda batch: cached[int(batch.windows_B[0])][1])
    return training(list(network.leaves[leaf].parameters()), lambda: loss_of(next(rounds))[0])


def their_training(network: Any, bfloat16: bool, batch: tuple[int, int] = BATCH) -> Workload:
    """Return a training step of all parameters of a transformers network."""
    rounds = texts(batch[0] * batch[1], network.config.vocab_size)
    device = network.device

    def loss_of() -> torch.Tensor:
        rows = torch.tensor(next(rounds)).view(batch[0], -1).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            loss: torch.Tensor = network(rows, labels=rows).loss
            return loss

    return training(list(network.train().parameters()), loss_of, batch)
