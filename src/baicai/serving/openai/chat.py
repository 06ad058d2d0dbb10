"""Chunks and responses of `/v1/chat/completions`."""

from collections.abc import Sequence
from itertools import chain

from baicai.serving.openai.detokenizer import Finish, TextDelta
from baicai.serving.openai.logprobs import chat_logprobs, token_routing
from baicai.serving.openai.preprocessing import PreparedRequest
from baicai.serving.openai.requests import ChatRequest
from baicai.serving.openai.response_models import ChatChunkChoice, ChatDelta, JsonObject
from baicai.serving.openai.structured_output import allowed_tools
from baicai.serving.openai.tool_calls import ToolCallParser, merge_tool_calls


class ChatWriter:
    """Writes one chat completion, as chunks or whole."""

    id_prefix, chunk_object, completion_object = "chatcmpl-", "chat.completion.chunk", "chat.completion"

    def __init__(self, prepared: PreparedRequest, request: ChatRequest, index: int = 0) -> None:
        self._prepared, self._request, self._index = prepared, request, index
        self._tool_calls = ToolCallParser() if allowed_tools(request) else None

    def start(self) -> ChatChunkChoice | None:
        """Announce the assistant's message."""
        return self._choice({"role": "assistant", "content": "", "refusal": None})

    def add(self, text_delta: TextDelta) -> ChatChunkChoice | None:
        """Write new text and tokens; None if nothing can be sent yet."""
        request, served, tokens = self._request, self._prepared.served, text_delta.tokens
        content: ChatDelta | None = {"content": text_delta.text} if text_delta.text else None
        delta = self._tool_calls.feed(text_delta.text) if self._tool_calls else content
        if not delta and not (tokens and (request.logprobs or request.routing)):
            return None
        choice = self._choice(delta or {})
        if request.logprobs and tokens:
            choice["logprobs"] = {"content": chat_logprobs(served, tokens), "refusal": None}
        if request.routing and tokens:
            choice["routing"] = token_routing(served, self._prepared.leaves, tokens)
        return choice

    def finish(self, finish: Finish) -> ChatChunkChoice:
        """Write the finish reason, with any text that was held back."""
        called = finish.reason == "stop" and self._tool_calls is not None and self._tool_calls.is_call
        choice = self._choice(self._tool_calls.flush() if self._tool_calls else {})
        choice["finish_reason"] = "tool_calls" if called else finish.reason
        return choice

    def combine(self, parts: Sequence[ChatChunkChoice]) -> JsonObject:
        """Combine all chunks of the completion into one choice."""
        calls = merge_tool_calls([part["delta"] for part in parts])
        content = "".join(part["delta"].get("content", "") for part in parts)
        message: JsonObject = {"role": "assistant", "content": None if calls else content, "refusal": None}
        message |= {"tool_calls": calls} if calls else {}
        choice: JsonObject = {"index": self._index, "message": message, "logprobs": None}
        choice["finish_reason"] = parts[-1]["finish_reason"]
        if self._request.logprobs:
            tokens = chain.from_iterable(part["logprobs"]["content"] for part in parts if part["logprobs"])
            choice["logprobs"] = {"content": list(tokens), "refusal": None}
        if self._request.routing:
            choice["routing"] = list(chain.from_iterable(part.get("routing", ()) for part in parts))
        return choice

    def _choice(self, delta: ChatDelta) -> ChatChunkChoice:
        return {"index": self._index, "delta": delta, "logprobs": None, "finish_reason": None}
