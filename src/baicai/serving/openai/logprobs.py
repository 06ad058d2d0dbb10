"""Log-probabilities, text and routing of tokens, as responses report them."""

from collections.abc import Sequence

from baicai.serving.engine.events import Token
from baicai.serving.openai.detokenizer import DecodedToken
from baicai.serving.openai.response_models import CompletionLogprobs, SampledTokenLogprob, TokenLogprob, TokenRouting
from baicai.serving.served_model import ServedModel

MIN_LOGPROB = -9999.0
"""OpenAI's value for a probability of 0: JSON has no infinity."""


def token_text(served: ServedModel, token_id: int) -> str:
    """Return a token as text: an incomplete character as `bytes:\\xe7\\x99`, a special token by its name."""
    content = _bytes(served, token_id)
    if not content:
        return served.tokenizer.id_to_token(token_id)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in content)


def chat_logprobs(served: ServedModel, tokens: Sequence[DecodedToken]) -> list[SampledTokenLogprob]:
    """Build the `logprobs.content` of a chat completion."""
    return [
        {
            **_token_logprob(served, token.id, token.log_probability),
            "top_logprobs": [_token_logprob(served, *alternative) for alternative in token.alternatives],
        }
        for token, _, _ in tokens
    ]


def completion_logprobs(served: ServedModel, tokens: Sequence[DecodedToken]) -> CompletionLogprobs:
    """Build the `logprobs` of a text completion."""
    return {
        "tokens": [token_text(served, token.id) for token, _, _ in tokens],
        "token_logprobs": [_clamp(token.log_probability) for token, _, _ in tokens],
        "top_logprobs": [_top_logprobs(served, token) for token, _, _ in tokens],
        "text_offset": [offset for _, offset, _ in tokens],
    }


def token_routing(served: ServedModel, leaves: Sequence[str], tokens: Sequence[DecodedToken]) -> list[TokenRouting]:
    """Build the `routing` of tokens: the weight of each active leaf as a share of the most that leaves can get."""
    return [
        {
            "token": text,
            "leaves": {
                name: round(weight / served.max_leaf_weight, 4)
                for name, weight in zip(leaves, token.leaf_weights, strict=True)
            },
        }
        for token, _, text in tokens
    ]


def _top_logprobs(served: ServedModel, token: Token) -> dict[str, float] | None:
    """Return the most likely tokens and the sampled one by their text; of two with the same text, the likelier."""
    if token.log_probability is None:
        return None
    top_logprobs = dict[str, float]()
    for token_id, log_probability in (*token.alternatives, (token.id, token.log_probability)):
        top_logprobs.setdefault(token_text(served, token_id), max(log_probability, MIN_LOGPROB))
    return top_logprobs


def _token_logprob(served: ServedModel, token_id: int, log_probability: float | None) -> TokenLogprob:
    assert log_probability is not None  # only the first token of a prompt has none, and a chat never echoes its prompt
    content = list(_bytes(served, token_id))
    return {"token": token_text(served, token_id), "logprob": max(log_probability, MIN_LOGPROB), "bytes": content}


def _bytes(served: ServedModel, token_id: int) -> bytes:
    return served.tokenizer.id_to_bytes(token_id) if token_id < served.tokenizer.vocab_size else b""


def _clamp(log_probability: float | None) -> float | None:
    return None if log_probability is None else max(log_probability, MIN_LOGPROB)
