"""Text generation: sampling and speculative decoding.

Shape suffixes: B sequences, P prompt, S positions, N last positions, V vocabulary, G leaves, D model width.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from baicai.config import Count, recipe
from baicai.errors import ConfigError
from baicai.inference.cpu.sampling import MIN_POSITIVE, sample_token
from baicai.inference.decoder import Decoder
from baicai.model.transformer import KVCache, Transformer, check_length


@recipe
class SamplingConfig:
    """Options of sampling and of generation."""

    max_tokens: Count = 200
    temperature: Annotated[float, Field(ge=0)] = 0.8
    """Softmax temperature; 0 is greedy decoding."""
    top_k: Annotated[int, Field(ge=0)] = 0
    """Sample from the k likeliest tokens; 0 means all."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Sample from the likeliest tokens whose total probability reaches this value (nucleus sampling)."""
    seed: int = 0
    stop: tuple[str, ...] = ()
    """Stop strings: generation ends before the first of them."""
    speculate: Annotated[int, Field(ge=0)] = 0
    """Number of tokens that a model with an MTP module drafts and verifies in one step; 0 disables drafting."""

    def __post_init__(self) -> None:
        if "" in self.stop:
            raise ConfigError("stop contains an empty string, so every completion would be empty: remove it")


class GeneratedToken(NamedTuple):
    """A generated token, its log-probability and its routing weights."""

    id: int
    log_probability: float
    """Natural log of the model's probability, before temperature, top-k and top-p."""
    leaf_weights: dict[str, float]
    """Routing weight of each leaf when this token was generated, averaged over the layers with leaves."""


@dataclass
class DraftStats:
    """Number of drafted tokens, and how many of them were accepted."""

    proposed: int = 0
    accepted: int = 0


def sampling_probabilities(logits_BV: Tensor, sampling: SamplingConfig) -> Tensor:
    """Return the probability of sampling each token, [B, V]."""
    if sampling.temperature == 0:
        return F.one_hot(logits_BV.argmax(-1), logits_BV.shape[-1]).float()
    ids_BK = _order(logits_BV)[:, : sampling.top_k or logits_BV.shape[-1]]
    best_BK = logits_BV.gather(-1, ids_BK)
    probability_BK = ((best_BK - best_BK[:, :1]) / max(sampling.temperature, MIN_POSITIVE)).softmax(-1)
    before_BK = probability_BK.cumsum(-1) - probability_BK
    probability_BK = probability_BK.masked_fill(before_BK >= max(sampling.top_p, MIN_POSITIVE), 0)
    return torch.zeros_like(logits_BV).scatter_(-1, ids_BK, probability_BK / probability_BK.sum(-1, keepdim=True))


def _order(logits_BV: Tensor) -> Tensor:
    """Return the token ids by descending logit, [B, V]; on a CPU, numpy sorts ten times as fast as PyTorch."""
    if logits_BV.device.type == "cpu" and not logits_BV.requires_grad:
        return torch.from_numpy(np.argsort(-logits_BV.float().numpy(), axis=-1))
    return logits_BV.argsort(dim=-1, descending=True)


def sample(logits_BV: Tensor, sampling: SamplingConfig, generator: torch.Generator) -> Tensor:
    """Sample one token id per row, [B]."""
    if sampling.temperature == 0:
        return logits_BV.argmax(-1)
    point_B1 = torch.empty(len(logits_BV), 1, device=logits_BV.device).uniform_(generator=generator)
    if logits_BV.device.type == "cpu":
        rows = zip(logits_BV.detach().float().numpy(), point_B1[:, 0].tolist(), strict=True)
        cuts = sampling.temperature, sampling.top_k, sampling.top_p
        return torch.tensor([sample_token(logits_V, *cuts, point) for logits_V, point in rows])
    probability_BV = sampling_probabilities(logits_BV, sampling)
    ids_B1 = torch.searchsorted(probability_BV.cumsum(-1), point_B1, right=True)
    last_B1 = (
        (probability_BV > 0).long().cumsum(-1).argmax(-1, keepdim=True)
    )  # if rounding makes the sum less than the point
    return ids_B1.minimum(last_B1).squeeze(1)


def generate(
    decoder: Decoder,
    prompt: Sequence[int],
    sampling: SamplingConfig,
    *,
    end_ids: Collection[int] = (),
    drafts: DraftStats | None = None,
) -> Iterator[GeneratedToken]:
    """Generate tokens after a prompt, until an end token (not yielded), `max_tokens` or the decoder's limit.

    Args:
        decoder: an open decoder, whose sequence the prompt is appended to.
        prompt: token ids.
        end_ids: tokens that end generation.
        drafts: if given, counts drafted and accepted tokens.

    Raises: ConfigError if the prompt is empty or leaves no room for an answer.

    Example:
        decoder = open_decoder(model.network)
        ids = [token.id for token in generate(decoder, tokenizer.encode("Once"), SamplingConfig(max_tokens=20))]
    """
    room = decoder.max_tokens - decoder.length
    if not 1 <= len(prompt) < room:
        raise ConfigError(f"a prompt of {len(prompt)} tokens does not fit: it must have 1 to {room - 1}")
    num_tokens = min(sampling.max_tokens, room - len(prompt))
    generator = torch.Generator(decoder.device).manual_seed(sampling.seed)
    for token in decode_tokens(decoder, prompt, num_tokens, sampling, generator, drafts or DraftStats()):
        if token.id in end_ids:
            return
        yield token


def decode_tokens(
    decoder: Decoder,
    prompt: Sequence[int],
    num_tokens: int,
    sampling: SamplingConfig,
    generator: torch.Generator,
    count: DraftStats,
) -> Iterator[GeneratedToken]:
    """Generate `num_tokens` tokens after the prompt, by speculative sampling if the decoder can draft.

    Each step reads the last token and the drafts after it. A draft sampled from q is accepted with probability
    min(1, p / q), where p is the model's own distribution; the first rejected one is replaced by a sample from
    max(0, p - q). The tokens are distributed as without drafts.
    Source: Leviathan, Kalman and Matias, Fast Inference from Transformers via Speculative Decoding, 2023, section 2.3.
    """
    start, left = decoder.length, num_tokens
    step, tokens, drafts, draft_probabilities = decoder.step(prompt), list(prompt), list[int](), list[Tensor]()
    while True:
        new_tokens = _verify(step.logits_NV, drafts, draft_probabilities, sampling, generator)
        count.proposed += len(drafts)
        count.accepted += len(new_tokens) - 1
        for token, logits_V, weights_G in zip(new_tokens, step.logits_NV, step.leaf_weights_NG.tolist(), strict=False):
            weights = dict(zip(decoder.leaves, weights_G, strict=True))
            yield GeneratedToken(token, float(logits_V.log_softmax(-1)[token]), weights)
        left -= len(new_tokens)
        if not left:
            return
        tokens += new_tokens
        decoder.length = start + len(tokens) - 1
        num_rejected = len(drafts) + 1 - len(new_tokens)
        hidden_SD = step.hidden_SD[: len(step.hidden_SD) - num_rejected]
        num_drafts = min(sampling.speculate, left - 1) if decoder.can_draft else 0
        follow = tokens[len(tokens) - len(hidden_SD) :]
        drafts, draft_probabilities = _propose(decoder, hidden_SD, follow, num_drafts, sampling, generator)
        step = decoder.step([tokens[-1], *drafts], 1 + num_drafts)


def _propose(
    decoder: Decoder,
    hidden_SD: Tensor,
    follow: Sequence[int],
    num_drafts: int,
    sampling: SamplingConfig,
    generator: torch.Generator,
) -> tuple[list[int], list[Tensor]]:
    """Draft the next tokens with the MTP module.

    Args:
        hidden_SD: hidden states of the token before each of `follow`; further drafts use the module's own output.
        follow: tokens that the module has not read yet.

    Returns: the drafts, and the distribution [V] that each was sampled from (empty if decoding is greedy).
    """
    drafts, draft_probabilities = list[int](), list[Tensor]()
    start = decoder.length - len(follow)
    for _ in range(num_drafts):
        logits_V, hidden_D = decoder.draft(hidden_SD, follow, start)
        if sampling.temperature == 0:
            drafts.append(int(logits_V.argmax()))
        else:
            draft_probabilities.append(sampling_probabilities(logits_V[None], sampling)[0])
            drafts.append(int(torch.multinomial(draft_probabilities[-1], 1, generator=generator)))
        start, follow, hidden_SD = start + len(follow), drafts[-1:], hidden_D[None]
    return drafts, draft_probabilities


def _verify(
    logits_NV: Tensor,
    drafts: Sequence[int],
    draft_probabilities: Sequence[Tensor],
    sampling: SamplingConfig,
    generator: torch.Generator,
) -> list[int]:
    """Return the accepted drafts and one more token."""
    if sampling.temperature == 0:
        greedy = logits_NV.argmax(-1).tolist()
        matches = [draft == token for draft, token in zip(drafts, greedy, strict=False)]
        return greedy[: [*matches, False].index(False) + 1]
    for number, (draft, q_V) in enumerate(zip(drafts, draft_probabilities, strict=True)):
        p_V = sampling_probabilities(logits_NV[number : number + 1], sampling)[0]
        if torch.rand((), generator=generator, device=p_V.device) * q_V[draft] >= p_V[draft]:
            residual_V = (p_V - q_V).clamp(min=0)
            if not residual_V.any():  # p and q differ by rounding alone
                residual_V = p_V
            return [*drafts[:number], int(torch.multinomial(residual_V, 1, generator=generator))]
    return [*drafts, int(sample(logits_NV[-1:], sampling, generator))]


def generate_batch(
    model: Transformer,
    prompts_BP: Tensor,
    num_tokens: int,
    seed: int,
    temperature: float = 1.0,
    vocab_size: int | None = None,
) -> Tensor:
    """Generate `num_tokens` tokens after each of several prompts of equal length, with all leaves active.

    Generation does not stop at the end of a document: as in training, the next document follows.

    Args:
        vocab_size: number of logits to sample from, to leave out padding rows of the vocabulary; None means all.

    Returns: token ids, [B, num_tokens].

    Raises: ConfigError if prompt and completion exceed the model's limit.
    """
    room = prompts_BP.shape[1] + num_tokens - 1
    check_length(room, model.config.max_tokens)
    cache = KVCache(model.config, room)

    def read(tokens_BS: Tensor) -> Tensor:
        return model.logits(model.hidden(tokens_BS, cache=cache)[:, -1])[:, :vocab_size]

    return sample_batch(read, prompts_BP.to(model.embedding.weight.device), num_tokens, seed, temperature)


@torch.no_grad()  # not inference mode: the samples may be trained on
def sample_batch(
    read: Callable[[Tensor], Tensor], prompts_BP: Tensor, num_tokens: int, seed: int, temperature: float
) -> Tensor:
    """Sample `num_tokens` tokens after each prompt, reproducibly for a seed.

    Args:
        read: appends tokens [B, S] to the sequences and returns the logits [B, V] of the next tokens.

    Returns: token ids, [B, num_tokens].
    """
    sampling = SamplingConfig(temperature=temperature, top_p=1.0)
    generator = torch.Generator(prompts_BP.device).manual_seed(seed)
    columns, last_BS = list[Tensor](), prompts_BP
    for _ in range(num_tokens):
        last_BS = sample(read(last_BS), sampling, generator)[:, None]
        columns.append(last_BS)
    return torch.cat(columns, 1)
