"""An answer as it comes out: text in pieces, with the tokens that spell it, up to a stop text."""

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

Reason = Literal["stop", "length"]


class Said(NamedTuple):
    """A token, and where its text begins."""

    token: Token
    offset: int
    """In the characters of the answer, those of an echoed prompt included."""
    text: str
    """What it adds to the answer: characters that end with it, up to a stop text."""


class Piece(NamedTuple):
    """Some text, maybe none, and tokens that have become certain with it."""

    text: str
    said: tuple[Said, ...]


@dataclass(frozen=True)
class End:
    """How an answer ended, and what it took."""

    reason: Reason
    tokens: int
    """Of the answer."""
    cached: int
    """Of the prompt, not read anew."""
    read: int
    """That went through the model."""
    weights_G: NDArray[np.float64]
    """Of the leaves that are on, sum over the answer's tokens."""


async def pieces(
    served: ServedModel, ask: GenerationRequest, stops: Sequence[str]
) -> AsyncGenerator[Piece | End, None]:
    """Yield an answer; text that may begin a stop text is held back until that is known.

    Raises: what the engine does, StoppedError if it drops the answer, ConfigError if it loses the grammar.
    """
    text_of, held = Detokenizer(served.tokenizer), StopStringFilter[tuple[Said, ...]](stops)
    offset, count, cached, weights_G, ended = 0, 0, 0, np.zeros(len(ask.leaves)), Finished("cancelled")
    async with aclosing(served.engine.generate(ask)) as answer:
        async for news in answer:
            free = list[tuple[str, tuple[Said, ...]]]()
            for told in news:
                if isinstance(told, Finished):
                    ended = told
                if isinstance(told, PromptStarted):
                    cached = told.cached_tokens
                if held.stopped or not isinstance(told, Token):
                    continue
                text = text_of.feed(told.id) if told.id < served.tokenizer.vocab_size else ""
                said = (Said(told, offset, text),)
                offset += len(text)
                if told.in_prompt:
                    free.append((text, said))
                    continue
                count += 1
                weights_G += told.leaf_weights
                free += held.add(text, said)
            if free:
                yield _together(free)
            if held.stopped:
                break
    if not held.stopped:
        if ended.reason == "cancelled":
            raise EngineStoppedError("the engine dropped this answer: ask again")
        if ended.reason == "grammar_error":
            raise ConfigError("the grammar of the answer has become too large to go on with: ask for a simpler one")
        yield _together([*held.rest(), (text_of.flush(), ())])
    drawn = count + (ended.reason == "stop")
    reason: Reason = "length" if ended.reason == "length" else "stop"
    yield End(reason, count, cached, len(ask.prompt_token_ids) - cached + max(drawn - 1, 0), weights_G)


def _together(parts: Sequence[tuple[str, tuple[Said, ...]]]) -> Piece:
    said = tuple(one._replace(text=text) for text, said in parts for one in said)
    return Piece("".join(text for text, _ in parts), said)
