"""How tokens are written in answers: their text, bytes, probabilities, and the leaves that gave them."""

from collections.abc import Sequence
from typing import Any

from baicai.serving.engine.events import Token
from baicai.serving.openai.detokenizer import Said
from baicai.serving.served_model import ServedModel

LOWEST = -9999.0
"""What OpenAI writes for a probability of nothing: JSON has no infinity."""


def spell(served: ServedModel, token: int) -> str:
    """Return a token as text; one that is no whole characters as `bytes:\\xe7\\x99`, a special one by its name."""
    content = _bytes(served, token)
    if not content:
        return served.tokenizer.id_to_token(token)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in content)


def chat_logprobs(served: ServedModel, said: Sequence[Said]) -> list[dict[str, Any]]:
    """Return tokens in the form of chat answers."""
    return [
        _entry(served, token.id, token.log_probability)
        | {"top_logprobs": [_entry(served, *other) for other in token.alternatives]}
        for token, _, _ in said
    ]


def completion_logprobs(served: ServedModel, said: Sequence[Said]) -> dict[str, list[Any]]:
    """Return tokens in the form of completions."""
    return {
        "tokens": [spell(served, token.id) for token, _, _ in said],
        "token_logprobs": [_number(token.log_probability) for token, _, _ in said],
        "top_logprobs": [_others(served, token) for token, _, _ in said],
        "text_offset": [offset for _, offset, _ in said],
    }


def routing(served: ServedModel, leaves: Sequence[str], said: Sequence[Said]) -> list[dict[str, Any]]:
    """Return for each token its text and the share that each leaf had of the most that leaves can get."""
    return [
        {
            "token": text,
            "leaves": {
                name: round(weight / served.max_leaf_weight, 4)
                for name, weight in zip(leaves, token.leaf_weights, strict=True)
            },
        }
        for token, _, text in said
    ]


def _others(served: ServedModel, token: Token) -> dict[str, float | None] | None:
    """Return the likeliest tokens, and the one that came; of two with one spelling, the likelier."""
    if token.log_probability is None:
        return None
    found = dict[str, float | None]()
    for other in (*token.alternatives, (token.id, token.log_probability)):
        found.setdefault(spell(served, other[0]), _number(other[1]))
    return found


def _entry(served: ServedModel, token: int, log_probability: float | None) -> dict[str, Any]:
    content = list(_bytes(served, token))
    return {"token": spell(served, token), "logprob": _number(log_probability), "bytes": content}


def _bytes(served: ServedModel, token: int) -> bytes:
    return served.tokenizer.id_to_bytes(token) if token < served.tokenizer.vocab_size else b""


def _number(log_probability: float | None) -> float | None:
    return None if log_probability is None else max(log_probability, LOWEST)
