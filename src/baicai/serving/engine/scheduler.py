"""Continuous batching: sequences join and leave between steps, and each gets the same result as if it ran alone.

Each step takes the newest token of every sequence that is generating, and fills the remaining room with chunks of
prompts, oldest first. A sequence waits until blocks for its maximum length are free, so that none is ever preempted.

Shape suffixes: D model width, G leaves, N positions with logits, S tokens of a chunk, V vocabulary.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from baicai.errors import ConfigError
from baicai.inference.batch_decoder import MAX_BATCH_TOKENS, BatchDecoder, SequenceChunk, StepOutput
from baicai.inference.cpu.sampling import logsumexp, sample_token
from baicai.inference.cpu.weight_table import Int8Weights
from baicai.inference.generate import SamplingConfig
from baicai.model.transformer import Transformer
from baicai.serving.engine.block_pool import BlockHash, BlockPool
from baicai.serving.engine.events import Alternative, EventCallback, Finished, PromptEmbedding, PromptStarted, Token
from baicai.serving.engine.generation_request import GenerationRequest

BLOCK_TOKENS = 16
MIN_NORM = 1e-30
"""Lower bound of an embedding's norm, because imported rows may be zero."""


class Constraint(Protocol):
    """Restricts a completion token by token."""

    def allowed(self) -> NDArray[np.bool_]:
        """Compute the mask of tokens that may come next, [V].

        Raises: ConfigError if it cannot be determined.
        """

    def accept(self, token: int) -> None:
        """Advance the constraint past a token."""


@dataclass(eq=False)
class _Sequence:
    id: int
    request: GenerationRequest
    sampling: SamplingConfig
    constraint: Constraint | None
    on_event: EventCallback
    tokens: list[int]
    active_G: NDArray[np.bool_]
    generator: torch.Generator
    hidden_sum_D: NDArray[np.float64]
    """Sum of the final hidden states of the prompt, for its embedding."""
    slot: int = -1
    """Row in the decoder's block table."""
    blocks: list[int] = field(default_factory=list)
    block_hashes: list[BlockHash] = field(default_factory=list)
    num_computed: int = 0
    """Tokens whose keys and values are in the KV cache."""

    @property
    def num_generated(self) -> int:
        return len(self.tokens) - len(self.request.prompt_token_ids)


class Engine:
    """Decodes many sequences with one model. A single thread calls `step` as long as the engine has work."""

    def __init__(
        self,
        model: Transformer,
        *,
        max_sequences: int = 16,
        kv_cache_tokens: int = 0,
        max_waiting: int = 256,
        int8: Int8Weights | None = None,
    ) -> None:
        """Allocate the KV cache.

        Args:
            model: Model to decode with.
            max_sequences: Maximum number of sequences that are decoded at once.
            kv_cache_tokens: Size of the KV cache in tokens, at least one sequence of maximum length; 0 fits
                `max_sequences` of them.
            max_waiting: Maximum number of sequences in the queue.
            int8: Quantized weights to use in place of the model's own.
        """
        blocks_per_sequence = -(-model.config.max_tokens // BLOCK_TOKENS)
        num_blocks = max_sequences * blocks_per_sequence
        if kv_cache_tokens:
            num_blocks = max(blocks_per_sequence, kv_cache_tokens // BLOCK_TOKENS)
        self._decoder = BatchDecoder(
            model, max_sequences=max_sequences, num_blocks=num_blocks, block_tokens=BLOCK_TOKENS, int8=int8
        )
        self._pool, self.max_waiting = BlockPool(num_blocks, BLOCK_TOKENS), max_waiting
        self.leaves, self.max_tokens = list(model.leaves), model.config.max_tokens
        self.vocab_size, self._dim = model.config.vocab_size, model.config.dim
        self._waiting: OrderedDict[str, deque[_Sequence]] = OrderedDict()
        """Queue of each client; the first client is admitted next."""
        self._running: list[_Sequence] = []
        self._free_slots = list(range(max_sequences))[::-1]
        self._last_id = 0

    @property
    def has_work(self) -> bool:
        """Whether any sequence is running or waiting."""
        return bool(self._running or self._waiting)

    @property
    def num_waiting(self) -> int:
        """Number of sequences in the queue."""
        return sum(map(len, self._waiting.values()))

    @property
    def num_running(self) -> int:
        """Number of sequences that have left the queue."""
        return len(self._running)

    def submit(self, request: GenerationRequest, on_event: EventCallback, constraint: Constraint | None = None) -> int:
        """Queue a request, whose events go to `on_event`, and return its id.

        Raises: ConfigError if it does not fit or names an unknown leaf, OverflowError if the queue is full.
        """
        sampling = SamplingConfig(
            temperature=request.temperature, top_p=request.top_p, top_k=request.top_k, seed=request.seed
        )
        prompt, max_prompt = list(request.prompt_token_ids), self.max_tokens - (not request.reads_whole_prompt)
        if not 1 <= len(prompt) <= max_prompt:
            raise ConfigError(f"the prompt has {len(prompt)} tokens, this model takes 1 to {self.max_tokens - 1}")
        unknown = [name for name in request.leaves if name not in self.leaves]
        if unknown:
            raise ConfigError(f"unknown leaf '{unknown[0]}': this model has {', '.join(self.leaves) or 'none'}")
        tokens = (*prompt, *(token for token, _ in request.logit_bias))
        if any(not 0 <= token < self.vocab_size for token in tokens):
            raise ConfigError(f"token ids must be between 0 and {self.vocab_size - 1}")
        if self.num_waiting >= self.max_waiting:
            raise OverflowError(f"{self.num_waiting} requests are already waiting: try again later")
        generator = torch.Generator().manual_seed(request.seed)
        self._last_id += 1
        active_G, hidden_sum_D = self._decoder.leaf_mask(request.leaves), np.zeros(self._dim)
        sequence = _Sequence(
            self._last_id, request, sampling, constraint, on_event, prompt, active_G, generator, hidden_sum_D
        )
        self._waiting.setdefault(request.client, deque()).append(sequence)
        return sequence.id

    def warm_up(self) -> None:
        """Take a first step, so that no request has to wait for the step to be compiled."""
        self.submit(GenerationRequest(prompt_token_ids=[0], leaves=(), max_tokens=1), lambda _: None)
        while self.has_work:
            self.step()

    def cancel(self, sequence_id: int) -> None:
        """Cancel a request unless it has already finished."""
        for client, queue in list(self._waiting.items()):
            for sequence in [sequence for sequence in queue if sequence.id == sequence_id]:
                queue.remove(sequence)
                sequence.on_event(Finished("cancelled"))
            if not queue:
                del self._waiting[client]
        for sequence in [sequence for sequence in self._running if sequence.id == sequence_id]:
            self._finish(sequence, "cancelled")

    def step(self) -> None:
        """Admit waiting sequences, run the model once, and emit the resulting events."""
        self._admit()
        chunks, sequences = [], []
        for sequence, count in self._schedule():
            start = sequence.num_computed
            tokens = sequence.tokens[start : start + count]
            chunks.append(SequenceChunk(sequence.slot, tokens, start, sequence.active_G, sequence.request.echo))
            sequences.append(sequence)
        outputs = self._decoder.step(chunks) if chunks else ()
        for sequence, chunk, output in zip(sequences, chunks, outputs, strict=True):
            self._process(sequence, chunk, output)

    def _admit(self) -> None:
        """Start waiting sequences, one client after another, while there is room."""
        while self._waiting and self._free_slots:
            client, queue = next(iter(self._waiting.items()))
            if not self._start(queue[0]):
                return
            queue.popleft()
            del self._waiting[client]
            if queue:
                self._waiting[client] = queue  # Reinsert the client at the end, so that the others come first.

    def _start(self, sequence: _Sequence) -> bool:
        request = sequence.request
        max_length = min(len(sequence.tokens) + request.max_tokens, self.max_tokens)
        reads_whole_prompt = request.reads_whole_prompt
        hashes = [] if reads_whole_prompt else self._pool.hash_blocks(sequence.tokens[:-1], request.leaves)
        allocated = self._pool.allocate(hashes, -(-max_length // BLOCK_TOKENS))
        if allocated is None:
            return False
        sequence.blocks, num_cached = allocated
        sequence.block_hashes, sequence.num_computed = hashes[:num_cached], num_cached * BLOCK_TOKENS
        sequence.slot = self._free_slots.pop()
        self._decoder.set_blocks(sequence.slot, sequence.blocks)
        self._running.append(sequence)
        sequence.on_event(PromptStarted(sequence.num_computed))
        return True

    def _schedule(self) -> Iterator[tuple[_Sequence, int]]:
        """Yield the sequences of a step and the number of tokens to process of each."""
        budget = MAX_BATCH_TOKENS
        decoding = [
            sequence
            for sequence in self._running
            if sequence.num_generated and len(sequence.tokens) - sequence.num_computed == 1
        ]
        for sequence in decoding[:budget]:
            budget -= 1
            yield sequence, 1
        for sequence in self._running:
            if sequence not in decoding and budget:
                count = min(budget, len(sequence.tokens) - sequence.num_computed)
                budget -= count
                yield sequence, count

    def _process(self, sequence: _Sequence, chunk: SequenceChunk, output: StepOutput) -> None:
        """Emit the events that follow from a step's output, and sample the next token once all others are computed."""
        request = sequence.request
        sequence.num_computed += len(chunk.tokens)
        if request.echo and chunk.start < len(request.prompt_token_ids):
            self._echo(sequence, chunk, output)
        if request.embed and chunk.start < len(request.prompt_token_ids):
            self._embed(sequence, output)
        self._share_blocks(sequence)
        if sequence.num_computed < len(sequence.tokens):
            return
        if sequence.num_generated >= request.max_tokens or sequence.num_computed >= self.max_tokens:
            self._finish(sequence, "length")
            return
        logits_V = output.logits_NV[-1]
        try:
            token = self._sample(sequence, logits_V)
        except ConfigError:
            self._finish(sequence, "grammar_error")
            return
        if token in request.stop_token_ids:
            self._finish(sequence, "stop")
            return
        sequence.tokens.append(token)
        leaf_weights_G = output.leaf_weights_SG[-1][sequence.active_G]
        sequence.on_event(_make_token(token, logits_V, leaf_weights_G, request.top_logprobs))
        if sequence.num_generated >= request.max_tokens or len(sequence.tokens) >= self.max_tokens:
            self._finish(sequence, "length")

    def _sample(self, sequence: _Sequence, logits_V: NDArray[np.float32]) -> int:
        sampling, constraint = sequence.sampling, sequence.constraint
        logits_V = _apply_bias_and_penalties(logits_V, sequence)
        if constraint is not None:
            logits_V = np.where(constraint.allowed(), logits_V, np.float32(-np.inf))
        point = torch.empty(()).uniform_(generator=sequence.generator).item()
        token: int = sample_token(logits_V, sampling.temperature, sampling.top_k, sampling.top_p, point)
        if constraint is not None:
            constraint.accept(token)
        return token

    def _echo(self, sequence: _Sequence, chunk: SequenceChunk, output: StepOutput) -> None:
        """Emit the prompt tokens that this step predicts, preceded by the first token, which has no prediction."""
        prompt, top_logprobs = sequence.request.prompt_token_ids, sequence.request.top_logprobs
        leaf_weights_SG = output.leaf_weights_SG[:, sequence.active_G]
        if chunk.start == 0:
            sequence.on_event(Token(prompt[0], None, (), (0.0,) * leaf_weights_SG.shape[1], True))
        predictions = zip(output.logits_NV, leaf_weights_SG, strict=True)
        for position, (logits_V, leaf_weights_G) in enumerate(predictions, chunk.start + 1):
            if position < len(prompt):
                token = _make_token(prompt[position], logits_V, leaf_weights_G, top_logprobs)
                sequence.on_event(token._replace(in_prompt=True))

    def _embed(self, sequence: _Sequence, output: StepOutput) -> None:
        """Accumulate the prompt's embedding, and emit it after the last token of the prompt.

        Tokens are added one by one, so that the sum is bit-identical however the prompt was split into steps.
        """
        for hidden_D in output.hidden_SD:
            sequence.hidden_sum_D += hidden_D
        if sequence.num_computed == len(sequence.request.prompt_token_ids):
            values_D = sequence.hidden_sum_D / max(float(np.linalg.norm(sequence.hidden_sum_D)), MIN_NORM)
            sequence.on_event(PromptEmbedding(tuple(values_D.astype(np.float32).tolist())))

    def _share_blocks(self, sequence: _Sequence) -> None:
        """Make the blocks that this step has filled available to other sequences."""
        num_shared, num_full = len(sequence.block_hashes), sequence.num_computed // BLOCK_TOKENS
        if num_full > num_shared:
            hashes = self._pool.hash_blocks(sequence.tokens[: num_full * BLOCK_TOKENS], sequence.request.leaves)
            for block, block_hash in zip(sequence.blocks[num_shared:num_full], hashes[num_shared:], strict=True):
                self._pool.share(block, block_hash)
            sequence.block_hashes = hashes

    def _finish(self, sequence: _Sequence, reason: str) -> None:
        self._running.remove(sequence)
        self._free_slots.append(sequence.slot)
        self._pool.release(sequence.blocks)
        sequence.on_event(Finished(reason))


def _apply_bias_and_penalties(logits_V: NDArray[np.float32], sequence: _Sequence) -> NDArray[np.float32]:
    """Add the request's logit bias, and subtract its penalties for tokens that the completion already contains."""
    request = sequence.request
    penalized = request.frequency_penalty or request.presence_penalty
    if request.logit_bias or penalized:
        logits_V = logits_V.copy()
    for token, bias in request.logit_bias:
        logits_V[token] += bias
    if penalized:
        completion = np.asarray(sequence.tokens[len(request.prompt_token_ids) :], np.int64)
        tokens, counts = np.unique(completion, return_counts=True)
        logits_V[tokens] -= request.frequency_penalty * counts + request.presence_penalty
    return logits_V


def _make_token(
    token: int, logits_V: NDArray[np.float32], leaf_weights_G: NDArray[np.float32], top_logprobs: int
) -> Token:
    log_normalizer = logsumexp(logits_V)
    top = np.argsort(-logits_V, kind="stable")[:top_logprobs].tolist() if top_logprobs else ()
    alternatives = tuple(Alternative(other, float(logits_V[other] - log_normalizer)) for other in top)
    return Token(token, float(logits_V[token] - log_normalizer), alternatives, tuple(leaf_weights_G.tolist()))
