"""Events that the engine emits for a request."""

from collections.abc import Callable
from typing import NamedTuple


class Alternative(NamedTuple):
    """A candidate token and the natural logarithm of its probability."""

    token: int
    log_probability: float


class Token(NamedTuple):
    """A token of the prompt or the completion."""

    id: int
    log_probability: float | None
    """Log probability under the model's own distribution; None for the first token of a prompt."""
    alternatives: tuple[Alternative, ...]
    """The most likely tokens at this position, most likely first."""
    leaf_weights: tuple[float, ...]
    """Routing weight of each active leaf when this token was produced."""
    in_prompt: bool = False


class PromptStarted(NamedTuple):
    """The request has left the queue, and its prompt is being read."""

    cached_tokens: int
    """Prompt tokens found in the KV cache."""


class PromptEmbedding(NamedTuple):
    """The embedding of the prompt."""

    values: tuple[float, ...]
    """Mean of the final hidden states over the prompt's tokens, scaled to length 1, in float32."""


class Finished(NamedTuple):
    """The last event of every request."""

    reason: str
    """`stop` (a stop token), `length`, `cancelled`, or `grammar_error` (the next token could not be determined)."""


EngineEvent = PromptStarted | Token | PromptEmbedding | Finished
EventCallback = Callable[[EngineEvent], None]
