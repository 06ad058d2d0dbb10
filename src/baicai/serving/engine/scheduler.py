"""Continuous batching: texts come and go between steps, and each gets what it would get alone.

A step takes the newest token of every text that is being continued, and in the room that is left pieces of prompts, the
oldest first. A text waits until there are blocks for all that it may become, so none is ever put back.
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
from baicai.serving.engine.block_pool import BlockPool, Name
from baicai.serving.engine.events import Alternative, Finished, PromptEmbedding, PromptStarted, Tell, Token
from baicai.serving.engine.generation_request import GenerationRequest

BLOCK_TOKENS = 16
TINY = 1e-30
"""Stands for the length of an embedding that is zero: imported rows may be."""


class Constraint(Protocol):
    """What an answer must keep to, token by token."""

    def allowed(self) -> NDArray[np.bool_]:
        """Return which tokens may come next, [V].

        Raises: ConfigError if that cannot be told.
        """

    def accept(self, token: int) -> None:
        """Note the token that came."""


@dataclass(eq=False)
class _Sequence:
    number: int
    request: GenerationRequest
    sampling: SamplingConfig
    constraint: Constraint | None
    tell: Tell
    tokens: list[int]
    on_G: NDArray[np.bool_]
    generator: torch.Generator
    sum_D: NDArray[np.float64]
    """Of what the head reads, where the embedding is wanted."""
    row: int = -1
    blocks: list[int] = field(default_factory=list)
    names: list[Name] = field(default_factory=list)
    read: int = 0
    """Tokens that the model has read."""

    @property
    def answered(self) -> int:
        return len(self.tokens) - len(self.request.prompt_token_ids)


class Engine:
    """One model, many texts; one thread calls `step` as long as there is `work`."""

    def __init__(
        self,
        model: Transformer,
        *,
        max_sequences: int = 16,
        kv_cache_tokens: int = 0,
        max_waiting: int = 256,
        int8: Int8Weights | None = None,
    ) -> None:
        """Make room for so many texts at once and tokens of all together (default: each as long as can be)."""
        whole = -(-model.config.max_tokens // BLOCK_TOKENS)
        blocks = max(whole, kv_cache_tokens // BLOCK_TOKENS) if kv_cache_tokens else max_sequences * whole
        self._decoder = BatchDecoder(
            model, max_sequences=max_sequences, num_blocks=blocks, block_tokens=BLOCK_TOKENS, int8=int8
        )
        self._pool, self.max_waiting = BlockPool(blocks, BLOCK_TOKENS), max_waiting
        self.leaves, self.vocab, self.max_tokens = list(model.leaves), model.config.vocab_size, model.config.max_tokens
        self._dim = model.config.dim
        self._waiting: OrderedDict[str, deque[_Sequence]] = OrderedDict()
        self._running: list[_Sequence] = []
        self._rows = list(range(max_sequences))[::-1]
        self._numbers = 0

    @property
    def work(self) -> bool:
        """Whether there is something to do."""
        return bool(self._running or self._waiting)

    @property
    def waiting(self) -> int:
        """Texts that have not begun."""
        return sum(map(len, self._waiting.values()))

    @property
    def running(self) -> int:
        """Texts that have begun."""
        return len(self._running)

    def submit(self, request: GenerationRequest, tell: Tell, constraint: Constraint | None = None) -> int:
        """Take a request, whose tokens are told as they come, and return its number.

        Raises: ConfigError if it does not fit or names a leaf there is not, OverflowError if too many wait already.
        """
        sampling = SamplingConfig(
            temperature=request.temperature, top_p=request.top_p, top_k=request.top_k, seed=request.seed
        )
        prompt, room = list(request.prompt_token_ids), self.max_tokens
        if not 1 <= len(prompt) <= room - (not request.reads_whole_prompt):
            raise ConfigError(f"a prompt of {len(prompt)} tokens does not fit: this model takes 1 to {room - 1}")
        unknown = [name for name in request.leaves if name not in self.leaves]
        if unknown:
            raise ConfigError(f"unknown leaf '{unknown[0]}': this model has {', '.join(self.leaves) or 'none'}")
        if any(not 0 <= token < self.vocab for token in (*prompt, *(token for token, _ in request.logit_bias))):
            raise ConfigError(f"a token is not one of the model's {self.vocab}")
        if self.waiting >= self.max_waiting:
            raise OverflowError(f"{self.waiting} requests wait already: try again later")
        generator = torch.Generator().manual_seed(request.seed)
        self._numbers += 1
        on_G, sum_D = self._decoder.leaf_mask(request.leaves), np.zeros(self._dim)
        text = _Sequence(self._numbers, request, sampling, constraint, tell, prompt, on_G, generator, sum_D)
        self._waiting.setdefault(request.client, deque()).append(text)
        return text.number

    def warm_up(self) -> None:
        """Take a first step: where none was ever taken it has to be compiled, and no text should wait for that."""
        self.submit(GenerationRequest(prompt_token_ids=[0], leaves=(), max_tokens=1), lambda _: None)
        while self.work:
            self.step()

    def cancel(self, number: int) -> None:
        """Stop a text, if it is still there."""
        for client, texts in list(self._waiting.items()):
            for text in [text for text in texts if text.number == number]:
                texts.remove(text)
                text.tell(Finished("cancelled"))
            if not texts:
                del self._waiting[client]
        for text in [text for text in self._running if text.number == number]:
            self._end(text, "cancelled")

    def step(self) -> None:
        """Let texts in, take a step, and tell what came of it."""
        self._let_in()
        parts, texts = [], []
        for text, count in self._plan():
            parts.append(
                SequenceChunk(
                    text.row, text.tokens[text.read : text.read + count], text.read, text.on_G, text.request.echo
                )
            )
            texts.append(text)
        for text, part, told in zip(texts, parts, self._decoder.step(parts) if parts else (), strict=True):
            self._take(text, part, told)

    def _let_in(self) -> None:
        """Begin texts that wait, a client at a time, as long as there is room."""
        while self._waiting and self._rows:
            client, texts = next(iter(self._waiting.items()))
            if not self._begin(texts[0]):
                return
            texts.popleft()
            del self._waiting[client]
            if texts:
                self._waiting[client] = texts  # the others come first now

    def _begin(self, text: _Sequence) -> bool:
        request = text.request
        most = min(len(text.tokens) + request.max_tokens, self.max_tokens)
        names = [] if request.reads_whole_prompt else self._pool.names(text.tokens[:-1], request.leaves)
        taken = self._pool.take(names, -(-most // BLOCK_TOKENS))
        if taken is None:
            return False
        text.blocks, shared = taken
        text.names, text.read = names[:shared], shared * BLOCK_TOKENS
        text.row = self._rows.pop()
        self._decoder.set_blocks(text.row, text.blocks)
        self._running.append(text)
        text.tell(PromptStarted(text.read))
        return True

    def _plan(self) -> Iterator[tuple[_Sequence, int]]:
        """Yield the texts of a step and how many tokens of each it takes."""
        room = MAX_BATCH_TOKENS
        going_on = [text for text in self._running if text.answered and len(text.tokens) - text.read == 1]
        for text in going_on[:room]:
            room -= 1
            yield text, 1
        for text in self._running:
            if text not in going_on and room:
                count = min(room, len(text.tokens) - text.read)
                room -= count
                yield text, count

    def _take(self, text: _Sequence, part: SequenceChunk, told: StepOutput) -> None:
        request = text.request
        text.read += len(part.tokens)
        if request.echo and part.start < len(request.prompt_token_ids):
            self._echo(text, part, told)
        if request.embed and part.start < len(request.prompt_token_ids):
            self._embed(text, told)
        self._name_blocks(text)
        if text.read < len(text.tokens):
            return
        if text.answered >= request.max_tokens or text.read >= self.max_tokens:
            self._end(text, "length")
            return
        logits_V = told.logits_NV[-1]
        try:
            token = self._draw(text, logits_V)
        except ConfigError:
            self._end(text, "grammar_error")
            return
        if token in request.stop_token_ids:
            self._end(text, "stop")
            return
        text.tokens.append(token)
        text.tell(_token(token, logits_V, told.leaf_weights_SG[-1][text.on_G], request.top_logprobs))
        if text.answered >= request.max_tokens or len(text.tokens) >= self.max_tokens:
            self._end(text, "length")

    def _draw(self, text: _Sequence, logits_V: NDArray[np.float32]) -> int:
        sampling, constraint = text.sampling, text.constraint
        logits_V = _weighed(logits_V, text)
        if constraint is not None:
            logits_V = np.where(constraint.allowed(), logits_V, np.float32(-np.inf))
        point = torch.empty(()).uniform_(generator=text.generator).item()
        token: int = sample_token(logits_V, sampling.temperature, sampling.top_k, sampling.top_p, point)
        if constraint is not None:
            constraint.accept(token)
        return token

    def _echo(self, text: _Sequence, part: SequenceChunk, told: StepOutput) -> None:
        """Tell the tokens of a prompt that this step has predicted, and first of all the first, which nothing has."""
        prompt, top = text.request.prompt_token_ids, text.request.top_logprobs
        weights_SG = told.leaf_weights_SG[:, text.on_G]
        if part.start == 0:
            text.tell(Token(prompt[0], None, (), (0.0,) * weights_SG.shape[1], True))
        for place, (logits_V, weights_G) in enumerate(zip(told.logits_NV, weights_SG, strict=True), part.start + 1):
            if place < len(prompt):
                made = _token(prompt[place], logits_V, weights_G, top)
                text.tell(made._replace(in_prompt=True))

    def _embed(self, text: _Sequence, told: StepOutput) -> None:
        """Add up a prompt's tokens one by one: the sum does not depend, bit for bit, on how it was cut into steps."""
        for hidden_D in told.hidden_SD:
            text.sum_D += hidden_D
        if text.read == len(text.request.prompt_token_ids):
            values_D = text.sum_D / max(float(np.linalg.norm(text.sum_D)), TINY)
            text.tell(PromptEmbedding(tuple(values_D.astype(np.float32).tolist())))

    def _name_blocks(self, text: _Sequence) -> None:
        full = text.read // BLOCK_TOKENS
        if full > len(text.names):
            names = self._pool.names(text.tokens[: full * BLOCK_TOKENS], text.request.leaves)
            for block, name in zip(text.blocks[len(text.names) : full], names[len(text.names) :], strict=True):
                self._pool.name(block, name)
            text.names = names

    def _end(self, text: _Sequence, reason: str) -> None:
        self._running.remove(text)
        self._rows.append(text.row)
        self._pool.give_back(text.blocks)
        text.tell(Finished(reason))


def _weighed(logits_V: NDArray[np.float32], text: _Sequence) -> NDArray[np.float32]:
    """Return logits with what a request adds to some, and takes off those of tokens that its answer has."""
    request = text.request
    penalised = request.frequency_penalty or request.presence_penalty
    if request.logit_bias or penalised:
        logits_V = logits_V.copy()
    for token, added in request.logit_bias:
        logits_V[token] += added
    if penalised:
        answer = np.asarray(text.tokens[len(request.prompt_token_ids) :], np.int64)
        tokens, counts = np.unique(answer, return_counts=True)
        logits_V[tokens] -= request.frequency_penalty * counts + request.presence_penalty
    return logits_V


def _token(token: int, logits_V: NDArray[np.float32], weights_G: NDArray[np.float32], top: int) -> Token:
    whole = logsumexp(logits_V)
    best = np.argsort(-logits_V, kind="stable")[:top].tolist() if top else ()
    others = tuple(Alternative(other, float(logits_V[other] - whole)) for other in best)
    return Token(token, float(logits_V[token] - whole), others, tuple(weights_G.tolist()))
