"""Generated text, streamed in chunks, each with the leaf that it came from."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from baicai.data.document import Message
from baicai.data.tokenizer import Detokenizer
from baicai.inference.decoder import open_decoder
from baicai.inference.generate import SamplingConfig, generate
from baicai.leaves.model import SparseModel
from baicai.leaves.stop_strings import StopStringFilter

MIN_LEAF_WEIGHT = 0.2
"""Share of the weight that its experts could get together, from which on a chunk is attributed to a leaf."""


class TextChunk(NamedTuple):
    """A chunk of generated text."""

    text: str
    leaf: str | None
    """The leaf with the largest weight; None if no leaf got enough."""
    weights: dict[str, float]
    """Each leaf's routing weight as a share of the most it could get, mean over layers, for the chunk's token."""


def chat_prompt(model: SparseModel, messages: Sequence[Message]) -> list[int]:
    """Return the prompt tokens for the assistant's next message.

    If they exceed three quarters of the context, the oldest messages are dropped; system messages go last.
    """
    limit = model.network.config.max_tokens * 3 // 4
    system = [message for message in messages if message.role == "system"]
    turns = [message for message in messages if message.role != "system"]
    for first in range(len(turns)):
        ids = model.tokenizer.encode_chat([*system, *turns[first:]])
        if len(ids) <= limit:
            return ids
    return model.tokenizer.encode_chat(messages[-1:])


def text_prompt(model: SparseModel, text: str) -> list[int]:
    """Return the prompt tokens for a text to be continued, as the beginning of a document."""
    tokenizer = model.tokenizer
    return [*(tokenizer.begin_ids or (tokenizer.end_id,)), *tokenizer.encode(text)]


def stream_text(
    model: SparseModel, prompt: Sequence[int], sampling: SamplingConfig, leaves: Collection[str] | None = None
) -> Iterator[TextChunk]:
    """Generate text after a prompt and yield it in chunks. Text that may begin a stop string is held back.

    Example:
        for chunk in stream_text(model, text_prompt(model, "The court"), SamplingConfig(max_tokens=50)):
            print(chunk.text, end="", flush=True)

    Args:
        model: an opened model.
        prompt: token ids, from `text_prompt` or `chat_prompt`.
        sampling: length, temperature, stop strings and other options.
        leaves: names of the leaves to use, None for all of them.

    Raises: ConfigError if a leaf is unknown, or prompt and output exceed the context.
    """
    sizes = model.network.leaf_config
    max_weight = sizes.top_k * sizes.routed_scaling_factor if sizes else 1.0
    detokenizer = Detokenizer(model.tokenizer)
    rows_without_token = range(model.tokenizer.vocab_size, model.network.config.vocab_size)
    end_ids = {*model.tokenizer.stop_ids, *rows_without_token}
    stop_filter = StopStringFilter[dict[str, float]](sampling.stop)
    decoder = open_decoder(model.network, leaves, len(prompt) + sampling.max_tokens, model.int8)
    for token in generate(decoder, prompt, sampling, end_ids=end_ids):
        weights = {name: weight / max_weight for name, weight in token.leaf_weights.items()}
        yield from _chunks(stop_filter.add(detokenizer.feed(token.id), weights))
        if stop_filter.stopped:
            return
    yield from _chunks([*stop_filter.flush(), (detokenizer.flush(), {})])


def _chunks(texts: Sequence[tuple[str, dict[str, float]]]) -> Iterator[TextChunk]:
    for text, weights in texts:
        leaf = max(weights, key=lambda name: weights[name], default=None)
        if text:
            yield TextChunk(text, leaf if leaf and weights[leaf] >= MIN_LEAF_WEIGHT else None, weights)
