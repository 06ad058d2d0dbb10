"""Decoders: feed tokens to a model and get logits. The compiled step runs on a CPU, PyTorch elsewhere.

Shape suffixes: S tokens, N the last of them, D model width, V vocabulary, G active leaves.
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
"""Number of tokens from which PyTorch's matrix products are faster than compiled steps of a few tokens."""


class DecoderOutput(NamedTuple):
    """Outputs of a model for the tokens of one call."""

    logits_NV: Tensor
    """Logits of the next token after each of the last N tokens, float32."""
    hidden_SD: Tensor
    """Hidden states of all tokens, the input of the head and the MTP module."""
    leaf_weights_NG: Tensor
    """Routing weight of each leaf for the last N tokens, averaged over the layers with leaves."""


class Decoder:
    """Decodes one sequence with a model and its active leaves, and holds the sequence's KV cache.

    This class runs on PyTorch: it is the reference, and what `CudaGraphDecoder` records on CUDA.

    Args:
        leaves: names of the active leaves.
        max_tokens: capacity of the cache; None means the model's limit.
    """

    def __init__(self, model: Transformer, leaves: Collection[str], max_tokens: int | None = None) -> None:
        self._model, self._cache = model, KVCache(model.config, max_tokens)
        self.device = model.embedding.weight.device
        mask_BG = model.leaf_mask(leaves).cpu()  # Python reads it in each step
        self.leaves = tuple(name for name in model.leaves if name in leaves)
        """Active leaves, in the model's order."""
        self._on_BG = None if len(self.leaves) == len(model.leaves) else mask_BG
        self._bfloat16 = has_fast_bfloat16(self.device) and model.embedding.weight.dtype == torch.bfloat16
        """Whether matrix products may run in bfloat16; on a CPU, only those of long prompts do."""
        self.can_draft = model.mtp is not None

    @property
    def max_tokens(self) -> int:
        """Capacity of the cache in tokens."""
        return self._cache.max_tokens

    @property
    def length(self) -> int:
        """Number of tokens in the cache; lower it to drop the last ones."""
        return self._cache.length

    @length.setter
    def length(self, tokens: int) -> None:
        """Drop the last tokens."""
        self._cache.length = tokens

    @torch.inference_mode()
    def step(self, tokens: Sequence[int], last: int = 1) -> DecoderOutput:
        """Append tokens to the sequence; return logits for the `last` of them."""
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
        """Draft the token after `tokens` with the MTP module.

        Args:
            hidden_SD: hidden states, of the model or of the module itself, of the token before each of `tokens`.
            start: position of the first token; the module's cache from there on is overwritten.

        Returns: logits [V] of the next token, and the module's output [D] for the last token.
        """
        with self._products(len(tokens)):
            out_D = self._model.draft(hidden_SD[None], self._row(tokens), start=start, cache=self._cache)[0, -1]
        with self._products(1):
            return self._model.logits(out_D), out_D

    def _row(self, tokens: Sequence[int]) -> Tensor:
        return torch.tensor([list(tokens)], device=self.device)


class CudaGraphDecoder(Decoder):
    """Fast decoder on CUDA: a step of one token is captured as a CUDA graph and replayed, without launch overhead.

    Its shapes never change: the position is a tensor, and attention covers the whole cache. Prompts and drafts run
    without the graph, and so does every step if choosing experts would need to synchronize with the GPU.
    """

    def __init__(self, model: Transformer, leaves: Collection[str], max_tokens: int | None = None) -> None:
        super().__init__(model, leaves, max_tokens)
        self._token_11 = torch.zeros(1, 1, dtype=torch.int64, device=self.device)
        self._position_1 = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._replay: Callable[[], DecoderOutput] | None = None
        loaded = [leaf for name in self.leaves if isinstance(leaf := model.leaves[name], Leaf)]
        layers = [leaf.layer(leaf.config.first_layer) for leaf in loaded]
        self._can_capture = self._bfloat16 and (not layers or can_group(layers, self.device, torch.bfloat16))

    @torch.inference_mode()
    def step(self, tokens: Sequence[int], last: int = 1) -> DecoderOutput:
        """Append tokens to the sequence; return logits for the `last` of them."""
        if len(tokens) > 1 or not self._can_capture:
            return super().step(tokens, last)
        check_length(self.length + 1, self.max_tokens)
        self._token_11.fill_(tokens[0])
        self._position_1.fill_(self.length)
        self._replay = self._replay or self._capture()
        output = DecoderOutput(*(tensor.clone() for tensor in self._replay()))
        self.length += 1
        return output

    def _capture(self) -> Callable[[], DecoderOutput]:
        warm_up = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        warm_up.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warm_up):  # allocates caches, stacked weights and workspaces before the capture
            self._step_fixed()
        torch.cuda.current_stream().wait_stream(warm_up)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self._step_fixed()
        self._recorded_buffers = [
            mixer.cached for mixer in self._model.mixers
        ]  # keeps the graph's buffers alive if the mixers replace them

        def replay() -> DecoderOutput:
            graph.replay()
            return output

        return replay

    def _step_fixed(self) -> DecoderOutput:
        """Run the token in `_token_11` at position `_position_1`."""
        length = self.length
        self._cache.device_length = self._position_1
        try:
            return self._take(self._token_11, 1)
        finally:
            self._cache.device_length, self.length = None, length


class CompiledDecoder(Decoder):
    """Fast decoder on a CPU: a compiled step reads each weight that it uses once, in place (`baicai.inference.cpu`)."""

    def __init__(
        self,
        model: Transformer,
        leaves: Collection[str],
        max_tokens: int | None = None,
        int8: Int8Weights | None = None,
    ) -> None:
        """Collect the weight addresses; `int8` weights replace the model's own."""
        super().__init__(model, leaves, max_tokens)
        self._pool = ThreadPool(WeightTable(model, self.leaves, self._cache, int8))

    def step(self, tokens: Sequence[int], last: int = 1) -> DecoderOutput:
        """Append tokens to the sequence; return logits for the `last` of them."""
        if len(tokens) >= BATCH_TOKENS and not self._pool.sizes.int8:
            return super().step(tokens, last)
        check_length(self.length + len(tokens), self.max_tokens)
        self._check(tokens)
        steps = []
        for begin in range(0, len(tokens), MAX_STEP_TOKENS):
            chunk = tokens[begin : begin + MAX_STEP_TOKENS]
            num_logits = max(len(chunk) - max(len(tokens) - last - begin, 0), 0)
            steps.append(self._run_chunk(chunk, self.length, num_logits, drafting=False))
            self.length += len(chunk)
        logits_NV, hidden_SD, weights_SG = (torch.cat(column) for column in zip(*steps, strict=True))
        return DecoderOutput(logits_NV, hidden_SD, weights_SG[-last:])

    def draft(self, hidden_SD: Tensor, tokens: Sequence[int], start: int) -> tuple[Tensor, Tensor]:
        """Draft the token after `tokens` with the MTP module, as `Decoder.draft` does."""
        if len(tokens) >= BATCH_TOKENS and not self._pool.sizes.int8:
            return super().draft(hidden_SD, tokens, start)
        check_length(start + len(tokens), self.max_tokens)
        self._check(tokens)
        for begin in range(0, len(tokens), MAX_STEP_TOKENS):
            chunk = tokens[begin : begin + MAX_STEP_TOKENS]
            self._pool.buffers.hidden_TD[: len(chunk)] = hidden_SD[begin : begin + len(chunk)].numpy()
            logits_1V, out_SD, _ = self._run_chunk(chunk, start + begin, 1, drafting=True)
        return logits_1V[0], out_SD[-1]

    def _check(self, tokens: Sequence[int]) -> None:
        vocab = self._pool.sizes.vocab
        if any(not 0 <= token < vocab for token in tokens):
            raise ConfigError(
                f"token id outside the model's vocabulary of {vocab}: encode the text with the model's tokenizer"
            )

    def _run_chunk(
        self, tokens: Sequence[int], start: int, last: int, *, drafting: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run at most `MAX_STEP_TOKENS` tokens at `start` through the network or the MTP module.

        Logits are computed for the `last` tokens only.
        """
        buffers, count = self._pool.buffers, len(tokens)
        buffers.tokens[:count] = tokens
        buffers.positions[:count] = range(start, start + count)
        self._pool.step(count, range(count - last, count), drafting=drafting)
        views = buffers.logits_TV[count - last : count], buffers.hidden_TD[:count], self._pool.leaf_weights(count)
        logits_NV, hidden_SD, weights_SG = (torch.from_numpy(view.copy()) for view in views)
        return logits_NV, hidden_SD, weights_SG


def open_decoder(
    model: Transformer,
    leaves: Collection[str] | None = None,
    max_tokens: int | None = None,
    int8: Int8Weights | None = None,
) -> Decoder:
    """Open the fastest decoder for the model's device.

    Args:
        leaves: names of the active leaves; None means all.
        max_tokens: capacity of the KV cache; None means the model's limit.
        int8: int8 weights for the CPU, from `quantize.load_int8_weights`; None uses the model's own.

    Raises: ConfigError for a leaf the model does not have.
    """
    leaves = tuple(model.leaves) if leaves is None else leaves
    if model.embedding.weight.device.type != "cpu":
        return CudaGraphDecoder(model, leaves, max_tokens)
    return CompiledDecoder(model, leaves, max_tokens, int8)
