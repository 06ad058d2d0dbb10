"""Metrics of teachers and students on held-out text, and decoding speed.

Shape suffixes: B sequences, S positions, T tokens, E width of the head's input, V vocabulary.
"""

import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from baicai.data.tokenizer import Tokenizer
from baicai.evaluation.bits_per_byte import bits_per_byte
from baicai.evaluation.calibration import Calibration
from baicai.inference.decoder import open_decoder
from baicai.inference.generate import SamplingConfig, generate
from baicai.model.layers import has_fast_bfloat16
from baicai.model.transformer import Transformer
from baicai.training.losses import CHUNK_TOKENS

NEW_TOKENS, ROUNDS = 64, 3
"""Tokens generated per round of a speed measurement, and rounds that count."""


class LanguageModel(Protocol):
    """Next-token predictor with separate trunk and head; `Teacher` and `Transformer` conform."""

    def hidden(self, tokens_BS: Tensor, /) -> Tensor:
        """Return the hidden states that the head reads, [B, S, E]."""

    def logits(self, hidden_TE: Tensor, /) -> Tensor:
        """Return the logits of the next tokens, [T, V], float32."""


class HeldOutMetrics(NamedTuple):
    """Quality of a model's predictions on held-out text."""

    bits_per_byte: float
    num_bytes: int
    calibration_error: float


def logit_chunks(model: LanguageModel, tokens_BS1: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield logits [T, V] and targets [T] for consecutive chunks of tokens; only one chunk's logits exist at a time."""
    return head_logit_chunks(model, *_hidden_and_targets(model, tokens_BS1))


def _hidden_and_targets(model: LanguageModel, tokens_BS1: Tensor) -> tuple[Tensor, Tensor]:
    """Return hidden states [T, E], computed in the precision that teachers run in, and target tokens [T]."""
    device = tokens_BS1.device
    with torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device)):
        return model.hidden(tokens_BS1[:, :-1]).flatten(0, 1), tokens_BS1[:, 1:].flatten()


def head_logit_chunks(model: LanguageModel, hidden_TE: Tensor, targets_T: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the same as `logit_chunks`, given the hidden states."""
    size = CHUNK_TOKENS[hidden_TE.device.type]
    for chunk_TE, chunk_T in zip(torch.split(hidden_TE, size), torch.split(targets_T, size), strict=True):
        yield model.logits(chunk_TE), chunk_T


@torch.no_grad()
def window_nats(model: LanguageModel, tokens_BS1: Tensor) -> Tensor:
    """Return the negative log-likelihood of tokens 1 to S of each window, in nats, [B, S], float32.

    The windows must be on the model's device.
    """
    return target_nats(model, *_hidden_and_targets(model, tokens_BS1)).view_as(tokens_BS1[:, 1:])


@torch.no_grad()
def target_nats(model: LanguageModel, hidden_TE: Tensor, targets_T: Tensor) -> Tensor:
    """Return the negative log-likelihood of each target given its hidden state, in nats, [T], float32."""
    chunks = head_logit_chunks(model, hidden_TE, targets_T)
    return torch.cat([F.cross_entropy(logits_TV, chunk_T, reduction="none") for logits_TV, chunk_T in chunks])


def measure_quality(
    model: LanguageModel, windows: Iterable[Tensor], tokenizer: Tokenizer, device: torch.device
) -> HeldOutMetrics:
    """Measure bits per byte and calibration on windows [B, S + 1] of text; the model must be on `device`.

    Tokens that represent no bytes are excluded from both.
    """
    scored_V = torch.from_numpy(tokenizer.bytes_per_token() > 0).to(device)
    calibration = Calibration()

    def nats_of(tokens_BS1: Tensor) -> Tensor:
        tokens_BS1, nats = tokens_BS1.to(device), []
        for logits_TV, targets_T in logit_chunks(model, tokens_BS1):
            log_probs_TV, scored_T = logits_TV.log_softmax(-1), scored_V[targets_T]
            max_T, predicted_T = log_probs_TV.max(-1)
            calibration.add(max_T.exp()[scored_T], (predicted_T == targets_T)[scored_T])
            nats.append(-log_probs_TV.gather(1, targets_T[:, None]).squeeze(1))
        return torch.cat(nats).view_as(tokens_BS1[:, 1:])

    quality = bits_per_byte(nats_of, windows, tokenizer)
    return HeldOutMetrics(*quality, calibration.error())


def tokens_per_second(model: Transformer, prompt: Sequence[int]) -> float:
    """Return the decoding speed of a model for one sequence: the median of several rounds.

    A warm-up round is discarded, and prefilling the prompt is not timed.

    Raises: ConfigError if the prompt leaves no room to generate.
    """
    sampling = SamplingConfig(max_tokens=NEW_TOKENS, temperature=0)
    decoder, rates = open_decoder(model, max_tokens=len(prompt) + NEW_TOKENS), []
    for _ in range(1 + ROUNDS):
        decoder.length = 0
        generated = generate(decoder, prompt, sampling)
        next(generated)
        start = time.perf_counter()
        num_tokens = sum(1 for _ in generated)
        rates.append(num_tokens / (time.perf_counter() - start))
    return statistics.median(rates[1:])
