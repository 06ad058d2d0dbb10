"""What an engine tells of a text, piece by piece."""

from collections.abc import Callable
from typing import NamedTuple


class Alternative(NamedTuple):
    """A token that might have come, and the natural logarithm of its probability."""

    token: int
    log_probability: float


class Token(NamedTuple):
    """A token of a prompt or an answer."""

    id: int
    log_probability: float | None
    """By the model's own distribution; None for the first token of a prompt."""
    alternatives: tuple[Alternative, ...]
    leaf_weights: tuple[float, ...]
    """Of the leaves that are on, in their order: weight when this token was made."""
    in_prompt: bool = False


class PromptStarted(NamedTuple):
    """A prompt is being read."""

    cached_tokens: int
    """Its tokens that are not read anew."""


class PromptEmbedding(NamedTuple):
    """A prompt has been read: its embedding."""

    values: tuple[float, ...]
    """Mean over the tokens of what the head reads, scaled to length 1; each is a float32."""


class Finished(NamedTuple):
    """An answer is over."""

    reason: str
    """stop (an end token), length, cancelled, or grammar_error: what may come next cannot be told."""


EngineEvent = PromptStarted | Token | PromptEmbedding | Finished
Tell = Callable[[EngineEvent], None]
