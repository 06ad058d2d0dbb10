"""Sampling: one token after another. Shape suffixes: B sequences, P prompt, S positions, V vocabulary, G leaves."""

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
from baicai.inference.cpu.sampling import LEAST, sample_token
from baicai.inference.decoder import Decoder
from baicai.model.transformer import KVCache, Transformer, check_length


@recipe
class SamplingConfig:
    """How the next token is drawn."""

    max_tokens: Count = 200
    temperature: Annotated[float, Field(ge=0)] = 0.8
    """0 takes the likeliest token."""
    top_k: Annotated[int, Field(ge=0)] = 0
    """Draw among the k likeliest tokens; 0 means all."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Draw among the likeliest tokens that together hold this probability."""
    seed: int = 0
    stop: tuple[str, ...] = ()
    """Texts before which the answer ends."""
    speculate: Annotated[int, Field(ge=0)] = 0
    """Tokens that a model with an MTP module drafts ahead and then verifies at once; 0: none."""

    def __post_init__(self) -> None:
        if "" in self.stop:
            raise ConfigError("stop holds an empty text: every answer would be empty")


class GeneratedToken(NamedTuple):
    """A token and where it came from."""

    id: int
    log_probability: float
    """Natural log, of the model's own distribution before temperature and cuts."""
    leaf_weights: dict[str, float]
    """Weight that each leaf got when this token was made, mean over the layers with leaves."""


@dataclass
class DraftStats:
    """How many of the MTP module's drafts were kept."""

    proposed: int = 0
    accepted: int = 0


def sampling_probabilities(logits_BV: Tensor, sampling: SamplingConfig) -> Tensor:
    """Return the probability with which each token is drawn, [B, V]."""
    if sampling.temperature == 0:
        return F.one_hot(logits_BV.argmax(-1), logits_BV.shape[-1]).float()
    ids_BK = _order(logits_BV)[:, : sampling.top_k or logits_BV.shape[-1]]
    best_BK = logits_BV.gather(-1, ids_BK)
    chance_BK = ((best_BK - best_BK[:, :1]) / max(sampling.temperature, LEAST)).softmax(-1)
    before_BK = chance_BK.cumsum(-1) - chance_BK
    chance_BK = chance_BK.masked_fill(before_BK >= max(sampling.top_p, LEAST), 0)
    return torch.zeros_like(logits_BV).scatter_(-1, ids_BK, chance_BK / chance_BK.sum(-1, keepdim=True))


def _order(logits_BV: Tensor) -> Tensor:
    """Return the tokens by their logits, the likeliest first, [B, V]; on a CPU numpy sorts ten times as fast."""
    if logits_BV.device.type == "cpu" and not logits_BV.requires_grad:
        return torch.from_numpy(np.argsort(-logits_BV.float().numpy(), axis=-1))
    return logits_BV.argsort(dim=-1, descending=True)


def sample(logits_BV: Tensor, sampling: SamplingConfig, generator: torch.Generator) -> Tensor:
    """Return one token id for each row, [B]."""
    if sampling.temperature == 0:
        return logits_BV.argmax(-1)
    point_B1 = torch.empty(len(logits_BV), 1, device=logits_BV.device).uniform_(generator=generator)
    if logits_BV.device.type == "cpu":
        rows = zip(logits_BV.detach().float().numpy(), point_B1[:, 0].tolist(), strict=True)
        cuts = sampling.temperature, sampling.top_k, sampling.top_p
        return torch.tensor([sample_token(logits_V, *cuts, point) for logits_V, point in rows])
    chance_BV = sampling_probabilities(logits_BV, sampling)
    places_B1 = torch.searchsorted(chance_BV.cumsum(-1), point_B1, right=True)
    last_B1 = (chance_BV > 0).long().cumsum(-1).argmax(-1, keepdim=True)  # where chances add up to less than a point
    return places_B1.minimum(last_B1).squeeze(1)


def generate(
    decoder: Decoder,
    prompt: Sequence[int],
    sampling: SamplingConfig,
    *,
    end_ids: Collection[int] = (),
    drafts: DraftStats | None = None,
) -> Iterator[GeneratedToken]:
    """Yield tokens that continue the prompt, until an end token (not yielded), `max_tokens` or the decoder's limit.

    `drafts` is filled.

    Raises: ConfigError if the prompt is empty or leaves no room for an answer.
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
    """Yield `num_tokens` tokens after the prompt, by speculative sampling where the decoder can draft.

    Each pass reads the newest token and the drafts after it. A draft is kept with probability min(1, p / q), where it
    was drawn from q and the model itself draws from p; the first that is not is replaced by a token drawn from
    max(0, p - q): what comes out is distributed as without drafts.
    Source: Leviathan, Kalman and Matias, Fast Inference from Transformers via Speculative Decoding, 2023, section 2.3.
    """
    begin, left = decoder.length, num_tokens
    step, tokens, drafts, chances = decoder.step(prompt), list(prompt), list[int](), list[Tensor]()
    while True:
        told = _verify(step.logits_NV, drafts, chances, sampling, generator)
        count.proposed += len(drafts)
        count.accepted += len(told) - 1
        for token, logits_V, weights_G in zip(told, step.logits_NV, step.leaf_weights_NG.tolist(), strict=False):
            weights = dict(zip(decoder.leaves, weights_G, strict=True))
            yield GeneratedToken(token, float(logits_V.log_softmax(-1)[token]), weights)
        left -= len(told)
        if not left:
            return
        tokens += told
        decoder.length = begin + len(tokens) - 1
        refused = len(drafts) + 1 - len(told)
        hidden_SD = step.hidden_SD[: len(step.hidden_SD) - refused]
        num_drafts = min(sampling.speculate, left - 1) if decoder.can_draft else 0
        follow = tokens[len(tokens) - len(hidden_SD) :]
        drafts, chances = _propose(decoder, hidden_SD, follow, num_drafts, sampling, generator)
        step = decoder.step([tokens[-1], *drafts], 1 + num_drafts)


def _propose(
    decoder: Decoder,
    hidden_SD: Tensor,
    follow: Sequence[int],
    num_drafts: int,
    sampling: SamplingConfig,
    generator: torch.Generator,
) -> tuple[list[int], list[Tensor]]:
    """Return drafts of what comes next, and the distribution [V] that each was drawn from (none if greedy).

    `follow` are the tokens that the MTP module has not read, and `hidden_SD` is of those before each; after that it
    reads itself.
    """
    drafts, chances = list[int](), list[Tensor]()
    start = decoder.length - len(follow)
    for _ in range(num_drafts):
        logits_V, hidden_D = decoder.draft(hidden_SD, follow, start)
        if sampling.temperature == 0:
            drafts.append(int(logits_V.argmax()))
        else:
            chances.append(sampling_probabilities(logits_V[None], sampling)[0])
            drafts.append(int(torch.multinomial(chances[-1], 1, generator=generator)))
        start, follow, hidden_SD = start + len(follow), drafts[-1:], hidden_D[None]
    return drafts, chances


def _verify(
    logits_NV: Tensor,
    drafts: Sequence[int],
    chances: Sequence[Tensor],
    sampling: SamplingConfig,
    generator: torch.Generator,
) -> list[int]:
    """Return the drafts that are kept, and one token more."""
    if sampling.temperature == 0:
        wanted = logits_NV.argmax(-1).tolist()
        kept = [draft == token for draft, token in zip(drafts, wanted, strict=False)]
        return wanted[: [*kept, False].index(False) + 1]
    for number, (draft, q_V) in enumerate(zip(drafts, chances, strict=True)):
        p_V = sampling_probabilities(logits_NV[number : number + 1], sampling)[0]
        if torch.rand((), generator=generator, device=p_V.device) * q_V[draft] >= p_V[draft]:
            rest_V = (p_V - q_V).clamp(min=0)
            if not rest_V.any():  # p and q differ by rounding alone
                rest_V = p_V
            return [*drafts[:number], int(torch.multinomial(rest_V, 1, generator=generator))]
    return [*drafts, int(sample(logits_NV[-1:], sampling, generator))]


def generate_batch(
    model: Transformer,
    prompts_BP: Tensor,
    num_tokens: int,
    seed: int,
    temperature: float = 1.0,
    vocab_size: int | None = None,
) -> Tensor:
    """Return how a model, all its leaves on, goes on after prompts of one length, [B, num_tokens].

    It reads past the ends of documents, as in training. `vocab_size` leaves out rows that stand for no token.

    Raises: ConfigError if that is more than the model takes.
    """
    room = prompts_BP.shape[1] + num_tokens - 1
    check_length(room, model.config.max_tokens)
    cache = KVCache(model.config, room)

    def read(tokens_BS: Tensor) -> Tensor:
        return model.logits(model.hidden(tokens_BS, cache=cache)[:, -1])[:, :vocab_size]

    return sample_batch(read, prompts_BP.to(model.embedding.weight.device), num_tokens, seed, temperature)


@torch.no_grad()  # not inference mode: what is drawn may be trained on
def sample_batch(
    read: Callable[[Tensor], Tensor], prompts_BP: Tensor, num_tokens: int, seed: int, temperature: float
) -> Tensor:
    """Return tokens drawn after prompts, [B, num_tokens]; nothing but the seed decides which.

    `read` reads on in all texts and returns the logits [B, V] of what comes next.
    """
    sampling = SamplingConfig(temperature=temperature, top_p=1.0)
    generator = torch.Generator(prompts_BP.device).manual_seed(seed)
    columns, last_BS = list[Tensor](), prompts_BP
    for _ in range(num_tokens):
        last_BS = sample(read(last_BS), sampling, generator)[:, None]
        columns.append(last_BS)
    return torch.cat(columns, 1)
