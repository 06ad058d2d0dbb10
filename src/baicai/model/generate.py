"""Sampling: one token after another. Shape suffixes: B sequences, S positions, V vocabulary, G leaves."""

from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from baicai.config import Count, recipe
from baicai.errors import ConfigError
from baicai.model.transformer import Cache, LayerTrace, Transformer


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


def leaves_on(model: Transformer, names: Collection[str] | None) -> Tensor | None:
    """Return the mask [1, G] for a set of leaf names; None stands for all.

    Raises: ConfigError for a name the model does not have.
    """
    if names is None:
        return None
    missing = sorted(set(names) - set(model.leaves))
    if missing:
        raise ConfigError(f"there is no leaf '{missing[0]}': this model has {', '.join(model.leaves) or 'none'}")
    return torch.tensor([[name in names for name in model.leaves]], dtype=torch.bool)


@torch.inference_mode()
def generate(
    model: Transformer,
    prompt: Sequence[int],
    sampling: SamplingConfig,
    *,
    end_ids: Collection[int] = (),
    leaves: Collection[str] | None = None,
) -> Iterator[GeneratedToken]:
    """Yield tokens that continue the prompt, until an end token (not yielded), `max_tokens` or the model's limit.

    `leaves` names those that are on; None means all.
    Raises: ConfigError if the prompt is empty or leaves no room for an answer.
    """
    limit = model.config.max_tokens
    if not 1 <= len(prompt) < limit:
        raise ConfigError(f"a prompt of {len(prompt)} tokens does not fit: it must have 1 to {limit - 1}")
    device = model.embedding.weight.device
    on_BG = leaves_on(model, leaves)
    on_BG = on_BG if on_BG is None else on_BG.to(device)
    cache = Cache(model.config, min(limit, len(prompt) + sampling.max_tokens))
    generator = torch.Generator(device).manual_seed(sampling.seed)
    tokens_BS = torch.tensor([list(prompt)], device=device)
    for _ in range(min(sampling.max_tokens, limit - len(prompt))):
        trace: list[LayerTrace] = []
        logits_BV = model(tokens_BS, on_BG=on_BG, cache=cache, trace=trace)[:, -1]
        tokens_BS = draw(logits_BV, sampling, generator)[:, None]
        token = int(tokens_BS)
        if token in end_ids:
            return
        yield GeneratedToken(token, float(logits_BV.log_softmax(-1)[0, token]), _leaf_weights(trace))


def _leaf_weights(trace: list[LayerTrace]) -> dict[str, float]:
    if not trace:
        return {}
    mean_G = torch.stack([layer.leaf_weights()[-1] for layer in trace]).mean(0)
    return dict(zip(trace[0].leaf_names, mean_G.tolist(), strict=True))


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
