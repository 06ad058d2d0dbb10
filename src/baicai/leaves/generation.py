"""Answers as text, piece by piece, each with the leaf that gave it."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from baicai.data.document import Message
from baicai.data.tokenizer import Detokenizer
from baicai.inference.decoder import open_decoder
from baicai.inference.generate import SamplingConfig, generate
from baicai.leaves.model import SparseModel
from baicai.leaves.stop_strings import StopStringFilter

MIN_LEAF_WEIGHT = 0.2
"""A leaf is named for a token if it got this share of the weight that its experts could get together."""


class TextChunk(NamedTuple):
    """Some text of an answer."""

    text: str
    leaf: str | None
    """The leaf that spoke most; None if the trunk was left to itself."""
    weights: dict[str, float]
    """Each leaf's weight over the most it could get, mean over the tokens of this piece."""


def chat_prompt(model: SparseModel, messages: Sequence[Message]) -> list[int]:
    """Return the tokens that ask for the assistant's next message.

    Where they do not fit, the oldest are left out; what the system says stays as long as anything else does.
    """
    limit = model.network.config.max_tokens * 3 // 4
    system = [message for message in messages if message.role == "system"]
    talk = [message for message in messages if message.role != "system"]
    for first in range(len(talk)):
        ids = model.tokenizer.encode_chat([*system, *talk[first:]])
        if len(ids) <= limit:
            return ids
    return model.tokenizer.encode_chat(messages[-1:])


def text_prompt(model: SparseModel, text: str) -> list[int]:
    """Return the tokens of a text to be continued, as the beginning of a document."""
    tokenizer = model.tokenizer
    return [*(tokenizer.begin_ids or (tokenizer.end_id,)), *tokenizer.encode(text)]


def stream_text(
    model: SparseModel, prompt: Sequence[int], sampling: SamplingConfig, leaves: Collection[str] | None = None
) -> Iterator[TextChunk]:
    """Yield the continuation of a prompt; text that may begin a stop text is held back until that is known."""
    sizes = model.network.leaf_config
    most = sizes.top_k * sizes.routed_scaling_factor if sizes else 1.0
    text_of = Detokenizer(model.tokenizer)
    rows_without_token = range(model.tokenizer.vocab_size, model.network.config.vocab_size)
    ends = {*model.tokenizer.stop_ids, *rows_without_token}
    held = StopStringFilter[dict[str, float]](sampling.stop)
    decoder = open_decoder(model.network, leaves, len(prompt) + sampling.max_tokens, model.int8)
    for token in generate(decoder, prompt, sampling, end_ids=ends):
        weights = {name: weight / most for name, weight in token.leaf_weights.items()}
        yield from (_piece(*one) for one in held.add(text_of.feed(token.id), weights) if one[0])
        if held.stopped:
            return
    yield from (_piece(*one) for one in [*held.rest(), (text_of.flush(), {})] if one[0])


def _piece(text: str, weights: dict[str, float]) -> TextChunk:
    leaf = max(weights, key=lambda name: weights[name], default=None)
    return TextChunk(text, leaf if leaf is not None and weights[leaf] >= MIN_LEAF_WEIGHT else None, weights)
