"""Detokenize a completion as it is generated, and end it at a stop string."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baicai.data.tokenizer import Detokenizer
from baicai.errors import ConfigError
from baicai.leaves.stop_strings import StopStringFilter
from baicai.serving.engine.client import EngineStoppedError
from baicai.serving.engine.events import Finished, PromptStarted, Token
from baicai.serving.engine.generation_request import GenerationRequest
from baicai.serving.served_model import ServedModel

FinishReason = Literal["stop", "length"]


class DecodedToken(NamedTuple):
    """A token, with the text that it completes."""

    token: Token
    offset: int
    """Position of the text in the completion, in characters; an echoed prompt counts."""
    text: str
    """Characters that end with this token, cut at a stop string."""


class TextDelta(NamedTuple):
    """A chunk of text, possibly empty, and the tokens released with it."""

    text: str
    tokens: tuple[DecodedToken, ...]


@dataclass(frozen=True)
class Finish:
    """How a completion ended, and what it cost."""

    reason: FinishReason
    completion_tokens: int
    cached_tokens: int
    """Prompt tokens found in the KV cache."""
    computed_tokens: int
    """Tokens that went through the model."""
    weights_G: NDArray[np.float64]
    """Weights of the active leaves, summed over the tokens of the completion."""


async def stream_text(
    served: ServedModel, request: GenerationRequest, stop_strings: Sequence[str]
) -> AsyncGenerator[TextDelta | Finish, None]:
    """Stream the text of a completion; text that may begin a stop string is held back until that is decided.

    Raises: what the engine raises, EngineStoppedError if it drops the completion, ConfigError if it loses the grammar
    """
    detokenizer, stop_filter = Detokenizer(served.tokenizer), StopStringFilter[tuple[DecodedToken, ...]](stop_strings)
    offset, num_tokens, cached_tokens, ended = 0, 0, 0, Finished("cancelled")
    weights_G = np.zeros(len(request.leaves))
    async with aclosing(served.engine.generate(request)) as batches:
        async for events in batches:
            released = list[tuple[str, tuple[DecodedToken, ...]]]()
            for event in events:
                if isinstance(event, Finished):
                    ended = event
                if isinstance(event, PromptStarted):
                    cached_tokens = event.cached_tokens
                if stop_filter.stopped or not isinstance(event, Token):
                    continue
                text = detokenizer.feed(event.id) if event.id < served.tokenizer.vocab_size else ""
                tokens = (DecodedToken(event, offset, text),)
                offset += len(text)
                if event.in_prompt:
                    released.append((text, tokens))
                    continue
                num_tokens += 1
                weights_G += event.leaf_weights
                released += stop_filter.add(text, tokens)
            if released:
                yield _joined(released)
            if stop_filter.stopped:
                break
    if not stop_filter.stopped:
        if ended.reason == "cancelled":
            raise EngineStoppedError("the engine dropped this completion; send the request again")
        if ended.reason == "grammar_error":
            raise ConfigError("the grammar of the completion became too large to continue; use a simpler one")
        yield _joined([*stop_filter.flush(), (detokenizer.flush(), ())])
    num_sampled = num_tokens + (ended.reason == "stop")
    reason: FinishReason = "length" if ended.reason == "length" else "stop"
    computed_tokens = len(request.prompt_token_ids) - cached_tokens + max(num_sampled - 1, 0)
    yield Finish(reason, num_tokens, cached_tokens, computed_tokens, weights_G)


def _joined(parts: Sequence[tuple[str, tuple[DecodedToken, ...]]]) -> TextDelta:
    tokens = tuple(token._replace(text=text) for text, tokens in parts for token in tokens)
    return TextDelta("".join(text for text, _ in parts), tokens)
