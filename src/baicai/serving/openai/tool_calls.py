"""Streaming parser of tool calls."""

from collections.abc import Sequence
from uuid import uuid4

from baicai.serving.openai.response_models import (
    ChatCompletionFunctionCall,
    ChatCompletionToolCall,
    ChatDelta,
    FunctionCallDelta,
)
from baicai.serving.openai.structured_output import HEAD, MIDDLE, TAIL


class ToolCallParser:
    """Separates text from a tool call while a completion is streamed.

    A call yields the name of the function first, then its arguments as they arrive.
    """

    def __init__(self) -> None:
        self._buffer = ""
        self._num_sent: int | None = None
        """Characters of the buffer that have been emitted; None until the name of the function is complete."""

    @property
    def is_call(self) -> bool:
        """Whether the completion is a tool call."""
        return self._buffer.startswith(HEAD[0])

    def feed(self, text: str) -> ChatDelta | None:
        """Add text, and return the delta that it completes, or None if nothing is certain yet."""
        self._buffer += text
        if not self.is_call:
            return {"content": text} if text else None
        if self._num_sent is None:
            name, middle, _ = self._buffer.removeprefix(HEAD).partition(MIDDLE)
            if not middle:
                return None
            self._num_sent = len(HEAD) + len(name) + len(MIDDLE)
            function: FunctionCallDelta = {"name": name, "arguments": self._take_arguments()}
            call_id = f"call_{uuid4().hex[:24]}"
            return {"tool_calls": [{"index": 0, "id": call_id, "type": "function", "function": function}]}
        arguments = self._take_arguments()
        return {"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]} if arguments else None

    def flush(self) -> ChatDelta:
        """Return the rest at the end of the completion: text that only began like a call."""
        return {"content": self._buffer} if self.is_call and self._num_sent is None else {}

    def _take_arguments(self) -> str:
        """Return the new characters of the arguments; the last one of a call is the brace that closes it."""
        assert self._num_sent is not None
        end = max(self._num_sent, len(self._buffer) - len(TAIL))
        arguments, self._num_sent = self._buffer[self._num_sent : end], end
        return arguments


def merge_tool_calls(deltas: Sequence[ChatDelta]) -> list[ChatCompletionToolCall]:
    """Merge the deltas of a message into its tool calls."""
    calls = list[ChatCompletionToolCall]()
    for delta in deltas:
        for call in delta.get("tool_calls", ()):
            name, arguments = call["function"].get("name", ""), call["function"]["arguments"]
            if "id" in call:
                function: ChatCompletionFunctionCall = {"name": name, "arguments": arguments}
                calls.append({"id": call["id"], "type": "function", "function": function})
            else:
                calls[-1]["function"]["arguments"] += arguments
    return calls
