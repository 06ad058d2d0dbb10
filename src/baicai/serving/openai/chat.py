"""Answers of `/v1/chat/completions`."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from baicai.serving.openai.detokenizer import End, Piece
from baicai.serving.openai.logprobs import chat_logprobs, routing
from baicai.serving.openai.preprocessing import Plan
from baicai.serving.openai.requests import ChatRequest
from baicai.serving.openai.streaming import Values
from baicai.serving.openai.structured_output import usable_tools
from baicai.serving.openai.tool_calls import CallReader, joined


class ChatForm:
    """One message, or what is added to it."""

    id_prefix, chunk_object, whole_object = "chatcmpl-", "chat.completion.chunk", "chat.completion"

    def __init__(self, plan: Plan, request: ChatRequest) -> None:
        self._plan, self._request = plan, request
        self._calls = CallReader() if usable_tools(request) else None

    def begin(self) -> Values | None:
        """Say who speaks."""
        return self._choice({"role": "assistant", "content": "", "refusal": None})

    def piece(self, piece: Piece) -> Values | None:
        """Say what is added."""
        request, served, told = self._request, self._plan.served, dict[str, Any]()
        if request.logprobs and piece.said:
            told["logprobs"] = {"content": chat_logprobs(served, piece.said), "refusal": None}
        if request.routing and piece.said:
            told["routing"] = routing(served, self._plan.leaves, piece.said)
        content = {"content": piece.text} if piece.text else None
        delta = self._calls.read(piece.text) if self._calls else content
        return self._choice(delta or {}) | told if delta or told else None

    def end(self, end: End) -> Values:
        """Say why it ends."""
        called = end.reason == "stop" and self._calls is not None and self._calls.called
        return self._choice(self._calls.rest() if self._calls else {}) | {
            "finish_reason": "tool_calls" if called else end.reason
        }

    def whole(self, parts: Sequence[Values]) -> Values:
        """Return the message."""
        content = "".join(part["delta"].get("content", "") for part in parts)
        calls = joined([part["delta"] for part in parts])
        message: Values = {"role": "assistant", "content": None if calls else content, "refusal": None}
        message |= {"tool_calls": calls} if calls else {}
        told: Values = {"message": message, "logprobs": None, "finish_reason": parts[-1]["finish_reason"]}
        if self._request.logprobs:
            listed = chain.from_iterable(part["logprobs"]["content"] for part in parts if part["logprobs"])
            told["logprobs"] = {"content": list(listed), "refusal": None}
        if self._request.routing:
            told["routing"] = list(chain.from_iterable(part.get("routing", ()) for part in parts))
        return told

    @staticmethod
    def _choice(delta: Values) -> Values:
        return {"delta": delta, "logprobs": None, "finish_reason": None}
