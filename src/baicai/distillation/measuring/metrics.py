"""What teachers and students say of held-out text, measured alike, and how fast a student says it.

Shape suffixes: B sequences, S positions, T tokens, E width of what a head reads, V vocabulary.
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


class LanguageModel(Protocol):
    """Predicts tokens; a `Teacher` and a `Transformer` are readers."""

    def hidden(self, tokens_BS: Tensor, /) -> Tensor:
        """Return what the head reads, [B, S, E]."""

    def logits(self, hidden_TE: Tensor, /) -> Tensor:
        """Return the logits [T, V] of the next tokens, in float32."""


class HeldOutMetrics(NamedTuple):
    """How well held-out text is predicted."""

    bits_per_byte: float
    num_bytes: int
    calibration_error: float


def logit_chunks(reader: LanguageModel, tokens_BS1: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the logits [T, V] and the real next tokens [T] of some places after others; only those logits exist."""
    return head_logit_chunks(reader, *_read(reader, tokens_BS1))


def _read(reader: LanguageModel, tokens_BS1: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the head reads [T, E], in the precision that teachers run in, and the real next tokens [T]."""
    device = tokens_BS1.device
    with torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device)):
        return reader.hidden(tokens_BS1[:, :-1]).flatten(0, 1), tokens_BS1[:, 1:].flatten()


def head_logit_chunks(reader: LanguageModel, hidden_TE: Tensor, targets_T: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what `read_chunks` does, given what the head reads."""
    chunk = CHUNK_TOKENS[hidden_TE.device.type]
    for some_TE, some_T in zip(torch.split(hidden_TE, chunk), torch.split(targets_T, chunk), strict=True):
        yield reader.logits(some_TE), some_T


@torch.no_grad()
def window_nats(reader: LanguageModel, tokens_BS1: Tensor) -> Tensor:
    """Return the nats of tokens 1 to S of windows that are on the reader's device, [B, S], float32."""
    return target_nats(reader, *_read(reader, tokens_BS1)).view_as(tokens_BS1[:, 1:])


@torch.no_grad()
def target_nats(reader: LanguageModel, hidden_TE: Tensor, targets_T: Tensor) -> Tensor:
    """Return the nats of tokens, given what the head reads before each, [T], float32."""
    chunks = head_logit_chunks(reader, hidden_TE, targets_T)
    return torch.cat([F.cross_entropy(logits_TV, some_T, reduction="none") for logits_TV, some_T in chunks])


def measure_quality(
    reader: LanguageModel, windows: Iterable[Tensor], tokenizer: Tokenizer, device: torch.device
) -> HeldOutMetrics:
    """Return a reader's quality and calibration on windows [B, S + 1] of text; `device` is where the reader is.

    Both leave tokens out that stand for no bytes.
    """
    scored_V = torch.from_numpy(tokenizer.bytes_per_token() > 0).to(device)
    calibration = Calibration()

    def nats_of(tokens_BS1: Tensor) -> Tensor:
        tokens_BS1, nats = tokens_BS1.to(device), []
        for logits_TV, targets_T in logit_chunks(reader, tokens_BS1):
            shares_TV, scored_T = logits_TV.log_softmax(-1), scored_V[targets_T]
            best_T, guess_T = shares_TV.max(-1)
            calibration.add(best_T.exp()[scored_T], (guess_T == targets_T)[scored_T])
            nats.append(-shares_TV.gather(1, targets_T[:, None]).squeeze(1))
        return torch.cat(nats).view_as(tokens_BS1[:, 1:])

    quality = bits_per_byte(nats_of, windows, tokenizer)
    return HeldOutMetrics(*quality, calibration.error())


def tokens_per_second(model: Transformer, prompt: Sequence[int]) -> float:
    """Return how fast a model goes on with a prompt, one token after another: the median of a few rounds.

    One round before them does not count, and neither does reading the prompt.

    Raises: ConfigError if the prompt leaves no room.
    """
    sampling = SamplingConfig(max_tokens=NEW_TOKENS, temperature=0)
    decoder, rates = open_decoder(model, max_tokens=len(prompt) + NEW_TOKENS), []
    for _ in range(1 + ROUNDS):
        decoder.length = 0
        answer = generate(decoder, prompt, sampling)
        next(answer)
        begun = time.perf_counter()
        tokens = sum(1 for _ in answer)
        rates.append(tokens / (time.perf_counter() - begun))
    return statistics.median(rates[1:])
