"""Calls of tools, found in an answer as it comes."""

from typing import Any
from uuid import uuid4

from baicai.serving.openai.structured_output import HEAD, MIDDLE, TAIL


class CallReader:
    """Tells text from a call, and of a call its function's name, then its arguments piece by piece."""

    def __init__(self) -> None:
        self._read = ""
        self._sent: int | None = None
        """How much of what was read has been told; None before the function's name."""

    @property
    def called(self) -> bool:
        """Whether this is a call."""
        return self._read.startswith(HEAD[0])

    def read(self, text: str) -> dict[str, Any] | None:
        """Return what is added to a message, None if nothing is certain."""
        self._read += text
        if not self.called:
            return {"content": text} if text else None
        if self._sent is None:
            name, found, _ = self._read.removeprefix(HEAD).partition(MIDDLE)
            if not found:
                return None
            self._sent = len(HEAD) + len(name) + len(MIDDLE)
            function = {"name": name, "arguments": self._more()}
            return _delta({"id": f"call_{uuid4().hex[:24]}", "type": "function", "function": function})
        more = self._more()
        return _delta({"function": {"arguments": more}}) if more else None

    def rest(self) -> dict[str, Any]:
        """Return what is still to be told at the end: text that only began as a call does."""
        return {"content": self._read} if self.called and self._sent is None else {}

    def _more(self) -> str:
        """Return what is new of the arguments; the last character of a call closes it, and is none of theirs."""
        assert self._sent is not None
        end = max(self._sent, len(self._read) - len(TAIL))
        more, self._sent = self._read[self._sent : end], end
        return more


def _delta(call: dict[str, Any]) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0} | call]}


def joined(deltas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the calls that deltas of a message tell."""
    calls = list[dict[str, Any]]()
    for delta in deltas:
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                calls.append({key: call[key] for key in ("id", "type")} | {"function": dict(call["function"])})
            else:
                calls[-1]["function"]["arguments"] += call["function"]["arguments"]
    return calls
