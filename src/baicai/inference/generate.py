"""Sampling: one token after another. Shape suffixes: B sequences, S positions, V vocabulary, G leaves."""

from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from baicai.config import Count, recipe
from baicai.errors import ConfigError
from baicai.inference.decoder import Decoder
from baicai.model.transformer import Cache, Transformer


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


def draw(logits_BV: Tensor, sampling: SamplingConfig, generator: torch.Generator) -> Tensor:
    """Return one token id for each row, [B]."""
    if sampling.temperature == 0:
        return logits_BV.argmax(-1)
    ordered_BV, ids_BV = logits_BV.sort(dim=-1, descending=True, stable=True)
    probability_BV = ((ordered_BV - ordered_BV[:, :1]) / sampling.temperature).softmax(-1)
    if sampling.top_k:
        probability_BV[:, sampling.top_k :] = 0
    before_BV = probability_BV.cumsum(-1) - probability_BV
    probability_BV[before_BV >= sampling.top_p * probability_BV.sum(-1, keepdim=True)] = 0
    picked_B1 = torch.multinomial(probability_BV, 1, generator=generator)
    return ids_BV.gather(1, picked_B1).squeeze(1)


def generate(
    decoder: Decoder,
    prompt: Sequence[int],
    sampling: SamplingConfig,
    *,
    end_ids: Collection[int] = (),
) -> Iterator[GeneratedToken]:
    """Yield tokens that continue the prompt, until an end token (not yielded), `max_tokens` or the decoder's limit.

    Raises: ConfigError if the prompt is empty or leaves no room for an answer.
    """
    room = decoder.max_tokens - decoder.length
    if not 1 <= len(prompt) < room:
        raise ConfigError(f"a prompt of {len(prompt)} tokens does not fit: it must have 1 to {room - 1}")
    generator = torch.Generator(decoder.device).manual_seed(sampling.seed)
    fed = decoder.fill(prompt)
    for left in range(min(sampling.max_tokens, room - len(prompt)), 0, -1):
        token = int(draw(fed.logits_TV, sampling, generator))
        if token in end_ids:
            return
        log_probability = float(fed.logits_TV[0].log_softmax(-1)[token])
        yield GeneratedToken(
            token, log_probability, dict(zip(decoder.leaves, fed.leaf_weights_TG[0].tolist(), strict=True))
        )
        if left > 1:
            fed = decoder.feed([token])


@torch.inference_mode()
def sample_texts(model: Transformer, first_id: int, num_texts: int, num_tokens: int, seed: int) -> Tensor:
    """Return texts drawn from the model's own distribution after `first_id`, [num_texts, num_tokens]."""
    sampling = SamplingConfig(temperature=1.0, top_p=1.0)
    device = model.embedding.weight.device
    generator = torch.Generator(device).manual_seed(seed)
    cache = Cache(model.config, num_tokens + 1)
    last_BS = torch.full((num_texts, 1), first_id, device=device)
    columns = []
    for _ in range(num_tokens):
        last_BS = draw(model(last_BS, cache=cache)[:, -1], sampling, generator)[:, None]
        columns.append(last_BS)
    return torch.cat(columns, 1)
