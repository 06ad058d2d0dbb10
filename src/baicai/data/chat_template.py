"""Chat formats: the markers around each message of a conversation."""

from collections.abc import Iterator, Sequence

from baicai.config import recipe
from baicai.data.document import Message

END, SYSTEM, USER, ASSISTANT = SPECIALS = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
SEPARATOR = "\n\n"
"""Separates the system message from the question if both share a turn."""


@recipe
class Turn:
    """Markers before and after a message. Names of special tokens in them stand for these tokens."""

    before: str
    after: str


@recipe
class ChatFormat:
    """Chat format of a tokenizer."""

    end: str
    """Token at the end of a document."""
    stop: list[str]
    """Tokens at which an answer ends."""
    begin: str = ""
    """Start of every text and every conversation."""
    opening: str = ""
    """Start of a conversation without a leading system message."""
    system: Turn | None
    """Markers of a system message; None puts the system message before the next question."""
    user: Turn
    assistant: Turn
    ask: str | None = None
    """Generation prompt; None uses the marker before an assistant message."""

    def parts(self, messages: Sequence[Message], *, answer: bool) -> Iterator[tuple[str, bool]]:
        """Yield the parts of a conversation, and whether each part is a marker.

        The last part ends the document or, if `answer`, is the generation prompt.
        """
        yield self.begin, True
        if self.opening and not (self.system and messages and messages[0].role == "system"):
            yield self.opening, True
        pending_system = last = ""
        for message in messages:
            turn = {"system": self.system, "user": self.user, "assistant": self.assistant}[message.role]
            if turn is None:
                pending_system += message.content + SEPARATOR
                continue
            yield turn.before, True
            yield (pending_system if message.role == "user" else "") + message.content, False
            yield turn.after, True
            pending_system, last = "" if message.role == "user" else pending_system, turn.after
        if pending_system:
            yield from ((self.user.before, True), (pending_system, False), (self.user.after, True))
        if answer:
            yield self.assistant.before if self.ask is None else self.ask, True
        elif self.end not in last:
            yield self.end, True


DEFAULT_CHAT_FORMAT = ChatFormat(
    end=END,
    stop=list(SPECIALS),
    system=Turn(before=SYSTEM, after=END),
    user=Turn(before=USER, after=END),
    assistant=Turn(before=ASSISTANT, after=END),
)
"""Chat format of the tokenizers that `baicai tokenizer` trains."""
