"""One sequence to generate or embed, as the API hands it to the engine."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """A prompt, and how to continue it. It crosses to the engine's process as JSON, so it holds only plain values."""

    prompt_token_ids: Sequence[int]
    leaves: Sequence[str]
    """Names of the active leaves."""
    max_tokens: int
    """Maximum number of tokens to generate; 0 only reads the prompt."""
    temperature: float = 0.0
    """0 takes the most likely token."""
    top_p: float = 1.0
    top_k: int = 0
    """0 keeps all tokens."""
    seed: int = 0
    logit_bias: Sequence[tuple[int, float]] = ()
    """Pairs of a token id and the value added to its logit."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit once for each time that the completion already contains it."""
    presence_penalty: float = 0.0
    """Subtracted from a token's logit if the completion already contains it."""
    stop_token_ids: Sequence[int] = ()
    """Tokens that end the completion and are not part of it."""
    top_logprobs: int = 0
    """Number of alternatives to report for each token."""
    echo: bool = False
    """Whether to report the prompt's tokens as well."""
    embed: bool = False
    """Whether to report the prompt's embedding."""
    grammar: str = ""
    """Grammar that constrains the completion, in llguidance's JSON format; empty: unconstrained."""
    client: str = ""
    """Client that sent the request; the scheduler lets clients take turns."""

    @property
    def reads_whole_prompt(self) -> bool:
        """Whether the output covers the prompt, so that no cached prefix may be skipped."""
        return self.echo or self.embed
