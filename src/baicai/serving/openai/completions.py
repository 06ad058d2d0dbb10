"""Answers of `/v1/completions`."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from baicai.serving.openai.detokenizer import End, Piece
from baicai.serving.openai.logprobs import completion_logprobs, routing
from baicai.serving.openai.preprocessing import Plan
from baicai.serving.openai.requests import CompletionRequest
from baicai.serving.openai.streaming import Values


class CompletionForm:
    """One text, or what is added to it."""

    id_prefix, chunk_object, whole_object = "cmpl-", "text_completion", "text_completion"

    def __init__(self, plan: Plan, request: CompletionRequest) -> None:
        self._plan, self._request = plan, request

    def begin(self) -> Values | None:
        """Say nothing."""
        return None

    def piece(self, piece: Piece) -> Values | None:
        """Say what is added."""
        request, served, told = self._request, self._plan.served, dict[str, Any]()
        if request.logprobs is not None and piece.said:
            told["logprobs"] = completion_logprobs(served, piece.said)
        if request.routing and piece.said:
            told["routing"] = routing(served, self._plan.leaves, piece.said)
        return self._choice(piece.text) | told if piece.text or told else None

    def end(self, end: End) -> Values:
        """Say why it ends."""
        return self._choice("") | {"finish_reason": end.reason}

    def whole(self, parts: Sequence[Values]) -> Values:
        """Return the text."""
        told = self._choice("".join(part["text"] for part in parts))
        told["finish_reason"] = parts[-1]["finish_reason"]
        if self._request.logprobs is not None:
            listed = [part["logprobs"] for part in parts if part["logprobs"]]
            keys = completion_logprobs(self._plan.served, ())
            told["logprobs"] = {key: list(chain.from_iterable(one[key] for one in listed)) for key in keys}
        if self._request.routing:
            told["routing"] = list(chain.from_iterable(part.get("routing", ()) for part in parts))
        return told

    @staticmethod
    def _choice(text: str) -> Values:
        return {"text": text, "logprobs": None, "finish_reason": None}
