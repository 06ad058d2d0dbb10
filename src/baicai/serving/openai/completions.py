"""Chunks and responses of `/v1/completions`."""

from collections.abc import Sequence
from itertools import chain

from baicai.serving.openai.detokenizer import Finish, TextDelta
from baicai.serving.openai.logprobs import completion_logprobs, token_routing
from baicai.serving.openai.preprocessing import PreparedRequest
from baicai.serving.openai.requests import CompletionRequest
from baicai.serving.openai.response_models import CompletionChunkChoice, JsonObject


class CompletionWriter:
    """Writes one text completion, as chunks or whole."""

    id_prefix, chunk_object, completion_object = "cmpl-", "text_completion", "text_completion"

    def __init__(self, prepared: PreparedRequest, request: CompletionRequest, index: int = 0) -> None:
        self._prepared, self._request, self._index = prepared, request, index

    def start(self) -> CompletionChunkChoice | None:
        """Write nothing: a text completion starts with its text."""
        return None

    def add(self, text_delta: TextDelta) -> CompletionChunkChoice | None:
        """Write new text and tokens; None if nothing can be sent yet."""
        request, served, tokens = self._request, self._prepared.served, text_delta.tokens
        if not text_delta.text and not (tokens and (request.logprobs is not None or request.routing)):
            return None
        choice = self._choice(text_delta.text)
        if request.logprobs is not None and tokens:
            choice["logprobs"] = completion_logprobs(served, tokens)
        if request.routing and tokens:
            choice["routing"] = token_routing(served, self._prepared.leaves, tokens)
        return choice

    def finish(self, finish: Finish) -> CompletionChunkChoice:
        """Write the finish reason."""
        choice = self._choice("")
        choice["finish_reason"] = finish.reason
        return choice

    def combine(self, parts: Sequence[CompletionChunkChoice]) -> JsonObject:
        """Combine all chunks of the completion into one choice."""
        choice: JsonObject = {**self._choice("".join(part["text"] for part in parts))}
        choice["finish_reason"] = parts[-1]["finish_reason"]
        if self._request.logprobs is not None:
            merged: JsonObject = {**completion_logprobs(self._prepared.served, ())}
            for part in parts:
                for key, values in part["logprobs"].items() if part["logprobs"] else ():
                    merged[key] += values
            choice["logprobs"] = merged
        if self._request.routing:
            choice["routing"] = list(chain.from_iterable(part.get("routing", ()) for part in parts))
        return choice

    def _choice(self, text: str) -> CompletionChunkChoice:
        return {"index": self._index, "text": text, "logprobs": None, "finish_reason": None}
