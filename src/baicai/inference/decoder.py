"""Takes tokens through a model and gives back logits: the compiled step on a CPU, PyTorch elsewhere.

Shape suffixes: S tokens, N of them at the end, D model width, V vocabulary, G leaves that are on.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from baicai.errors import ConfigError
from baicai.inference.cpu.buffers import MAX_STEP_TOKENS
from baicai.inference.cpu.thread_pool import ThreadPool
from baicai.inference.cpu.weight_table import Int8Weights, WeightTable
from baicai.model.experts import Leaf
from baicai.model.grouped_experts import can_group
from baicai.model.layers import has_fast_bfloat16
from baicai.model.router import LayerTrace
from baicai.model.transformer import KVCache, Transformer, check_length

BATCH_TOKENS = 24
"""From so many tokens on, PyTorch's matrix products are faster than steps of a few tokens."""


class DecoderOutput(NamedTuple):
    """What a model says of tokens it was fed."""

    logits_NV: Tensor
    """Of the tokens after the last N, float32."""
    hidden_SD: Tensor
    """What the head and the MTP module read, of all tokens fed."""
    leaf_weights_NG: Tensor
    """Of the last N: the weight that each leaf got, mean over the layers with leaves."""


class Decoder:
    """A text on its way through a model, with the leaves that are on for it; it holds the text's cache.

    This one runs on PyTorch: the reference, and what `CudaGraphDecoder` records on CUDA.
    """

    def __init__(self, model: Transformer, leaves: Collection[str], max_tokens: int | None = None) -> None:
        self._model, self._cache = model, KVCache(model.config, max_tokens)
        self.device = model.embedding.weight.device
        mask_BG = model.leaf_mask(leaves).cpu()  # Python reads it in each step
        self.leaves = tuple(name for name in model.leaves if name in leaves)
        """The leaves that are on, in the model's order."""
        self._on_BG = None if len(self.leaves) == len(model.leaves) else mask_BG
        self._bfloat16 = has_fast_bfloat16(self.device) and model.embedding.weight.dtype == torch.bfloat16
        """Whether products may be in the type of the weights; on a CPU, those of a long prompt are."""
        self.can_draft = model.mtp is not None

    @property
    def max_tokens(self) -> int:
        """Tokens there is room for."""
        return self._cache.max_tokens

    @property
    def length(self) -> int:
        """Tokens taken so far; may be lowered to take the last ones back."""
        return self._cache.length

    @length.setter
    def length(self, tokens: int) -> None:
        """Take the last tokens back."""
        self._cache.length = tokens

    @torch.inference_mode()
    def step(self, tokens: Sequence[int], last: int = 1) -> DecoderOutput:
        """Read on, one token or many, and tell what comes after each of the `last` ones."""
        return self._take(self._row(tokens), last)

    def _take(self, tokens_1S: Tensor, last: int) -> DecoderOutput:
        trace: list[LayerTrace] = []
        with self._products(tokens_1S.shape[1]):
            hidden_SD = self._model.hidden(tokens_1S, on_BG=self._on_BG, cache=self._cache, trace=trace)[0]
        weights_NG = hidden_SD.new_zeros(last, 0)
        if trace:
            weights_NG = torch.stack([layer.leaf_weights()[-last:] for layer in trace]).mean(0)
        with self._products(1):
            return DecoderOutput(self._model.logits(hidden_SD[-last:]), hidden_SD, weights_NG)

    def _products(self, rows: int) -> torch.autocast:
        bfloat16 = self._bfloat16 and (self.device.type == "cuda" or rows >= BATCH_TOKENS)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16)

    @torch.inference_mode()
    def draft(self, hidden_SD: Tensor, tokens: Sequence[int], start: int) -> tuple[Tensor, Tensor]:
        """Return the MTP module's logits [V] of the token after `tokens`, and its output [D] for the last of them.

        `hidden_SD` is the model's, or the module's own, for the tokens before each of these, the first at position
        `start`; what the module read from there on is forgotten.
        """
        with self._products(len(tokens)):
            out_D = self._model.draft(hidden_SD[None], self._row(tokens), start=start, cache=self._cache)[0, -1]
        with self._products(1):
            return self._model.logits(out_D), out_D

    def _row(self, tokens: Sequence[int]) -> Tensor:
        return torch.tensor([list(tokens)], device=self.device)


class CudaGraphDecoder(Decoder):
    """The fast way on CUDA: a step of one token is recorded once and played again, without a launch for each product.

    Its shapes never change: the position is a tensor, and attention looks over all the room there is. Prompts and
    drafts run as they are, and so does everything where a layer's experts would have to wait for the GPU.
    """

    def __init__(self, model: Transformer, leaves: Collection[str], max_tokens: int | None = None) -> None:
        super().__init__(model, leaves, max_tokens)
        self._token_11 = torch.zeros(1, 1, dtype=torch.int64, device=self.device)
        self._position_1 = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._play: Callable[[], DecoderOutput] | None = None
        found = [leaf for name in self.leaves if isinstance(leaf := model.leaves[name], Leaf)]
        layers = [leaf.layer(leaf.config.first_layer) for leaf in found]
        self._can_record = self._bfloat16 and (not layers or can_group(layers, self.device, torch.bfloat16))

    @torch.inference_mode()
    def step(self, tokens: Sequence[int], last: int = 1) -> DecoderOutput:
        """Read on, one token or many, and tell what comes after each of the `last` ones."""
        if len(tokens) > 1 or not self._can_record:
            return super().step(tokens, last)
        check_length(self.length + 1, self.max_tokens)
        self._token_11.fill_(tokens[0])
        self._position_1.fill_(self.length)
        self._play = self._play or self._record()
        said = DecoderOutput(*(tensor.clone() for tensor in self._play()))
        self.length += 1
        return said

    def _record(self) -> Callable[[], DecoderOutput]:
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # room, stacks and workspaces are made before the recording
            self._one()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            said = self._one()
        self._kept = [
            mixer.cached for mixer in self._model.mixers
        ]  # the graph reads these, also if others replace them

        def play() -> DecoderOutput:
            graph.replay()
            return said

        return play

    def _one(self) -> DecoderOutput:
        """Take the token in `_token_11` at the place in `_position_1`."""
        length = self.length
        self._cache.device_length = self._position_1
        try:
            return self._take(self._token_11, 1)
        finally:
            self._cache.device_length, self.length = None, length


class CompiledDecoder(Decoder):
    """The fast way on a CPU: a step reads the weights it uses once, where they lie in the model or its file."""

    def __init__(
        self,
        model: Transformer,
        leaves: Collection[str],
        max_tokens: int | None = None,
        int8: Int8Weights | None = None,
    ) -> None:
        """Make the tables; weights in int8, where given, stand in for those of the model."""
        super().__init__(model, leaves, max_tokens)
        self._crew = ThreadPool(WeightTable(model, self.leaves, self._cache, int8))

    def step(self, tokens: Sequence[int], last: int = 1) -> DecoderOutput:
        """Read on, one token or many, and tell what comes after each of the `last` ones."""
        if len(tokens) >= BATCH_TOKENS and not self._crew.sizes.int8:
            return super().step(tokens, last)
        check_length(self.length + len(tokens), self.max_tokens)
        self._check(tokens)
        steps = []
        for begin in range(0, len(tokens), MAX_STEP_TOKENS):
            few = tokens[begin : begin + MAX_STEP_TOKENS]
            wanted = max(len(few) - max(len(tokens) - last - begin, 0), 0)
            steps.append(self._few(few, self.length, wanted, drafting=False))
            self.length += len(few)
        logits_NV, hidden_SD, weights_SG = (torch.cat(column) for column in zip(*steps, strict=True))
        return DecoderOutput(logits_NV, hidden_SD, weights_SG[-last:])

    def draft(self, hidden_SD: Tensor, tokens: Sequence[int], start: int) -> tuple[Tensor, Tensor]:
        """Return the MTP module's logits [V] of the token after `tokens`, and its output [D] for the last of them."""
        if len(tokens) >= BATCH_TOKENS and not self._crew.sizes.int8:
            return super().draft(hidden_SD, tokens, start)
        check_length(start + len(tokens), self.max_tokens)
        self._check(tokens)
        for begin in range(0, len(tokens), MAX_STEP_TOKENS):
            few = tokens[begin : begin + MAX_STEP_TOKENS]
            self._crew.stream.hidden_TD[: len(few)] = hidden_SD[begin : begin + len(few)].numpy()
            logits_1V, out_SD, _ = self._few(few, start + begin, 1, drafting=True)
        return logits_1V[0], out_SD[-1]

    def _check(self, tokens: Sequence[int]) -> None:
        vocab = self._crew.sizes.vocab
        if any(not 0 <= token < vocab for token in tokens):
            raise ConfigError(f"a token is not one of the model's {vocab}: text and model are not of one tokenizer")

    def _few(self, tokens: Sequence[int], start: int, last: int, *, drafting: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Take at most `MAX_STEP_TOKENS` tokens at `start` through the network or the MTP module.

        Logits are of the `last` ones alone.
        """
        stream, count = self._crew.stream, len(tokens)
        stream.tokens[:count] = tokens
        stream.positions[:count] = range(start, start + count)
        self._crew.step(count, range(count - last, count), drafting=drafting)
        parts = stream.logits_TV[count - last : count], stream.hidden_TD[:count], self._crew.leaf_weights(count)
        logits_NV, hidden_SD, weights_SG = (torch.from_numpy(part.copy()) for part in parts)
        return logits_NV, hidden_SD, weights_SG


def open_decoder(
    model: Transformer,
    leaves: Collection[str] | None = None,
    max_tokens: int | None = None,
    int8: Int8Weights | None = None,
) -> Decoder:
    """Return what takes a text of at most `max_tokens` (default: the model's limit) through a model.

    `leaves` names those that are on; None means all.

    Raises: ConfigError for a leaf the model does not have.
    """
    leaves = tuple(model.leaves) if leaves is None else leaves
    if model.embedding.weight.device.type != "cpu":
        return CudaGraphDecoder(model, leaves, max_tokens)
    return CompiledDecoder(model, leaves, max_tokens, int8)
