"""Documents: plain text or a conversation, with source and licence."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

from baicai.errors import DataError

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")
MAX_DOCUMENT_BYTES = 64 * 2**20
"""Maximum size of a document, which bounds the memory that reading needs."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Document:
    """A text, or the messages of a conversation; never both."""

    id: str
    text: str
    source: str
    licence: str
    messages: tuple[Message, ...] = ()

    def __post_init__(self) -> None:
        assert not (self.text and self.messages), f"document {self.id} has both text and messages"

    @property
    def contents(self) -> tuple[str, ...]:
        """The text, or the text of each message."""
        return tuple(message.content for message in self.messages) if self.messages else (self.text,)


def is_role(name: object) -> TypeGuard[Role]:
    """Return whether `name` is a valid message role."""
    return name in ROLES


def parse_messages(value: object, where: str) -> tuple[Message, ...]:
    """Parse messages in OpenAI's chat format; `where` names their location in errors.

    Content is a string or a list of text parts.
    Raises: DataError
    """
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: messages must be a non-empty list")
    return tuple(_parse_message(item, f"{where}: message {number}") for number, item in enumerate(value, 1))


def parse_record(record: Mapping[str, Any], where: str, *, name: str, source: str, licence: str) -> Document | None:
    """Parse a row of a data set into a document, or None if it has no text; `where` names the row in errors.

    A row has `text` or `messages`, and may have `id`, `source` and `license` (or `licence`), which take precedence over
    the arguments. A null counts as absent.
    Raises: DataError
    """
    row = {key: value for key, value in record.items() if value is not None}
    if ("text" in row) == ("messages" in row):
        have = "both text and messages: keep one" if "text" in row else "neither text nor messages: add one"
        raise DataError(f"{where}: has {have} (fields: {', '.join(map(str, row)) or 'none'})")
    messages = parse_messages(row["messages"], where) if "messages" in row else ()
    text = row.get("text", "")
    if not isinstance(text, str):
        raise DataError(f"{where}: text is {type(text).__name__}, not a string")
    document = Document(
        id=str(row.get("id", name)),
        text=text,
        source=str(row.get("source", source)),
        licence=str(row.get("license", row.get("licence", licence))),
        messages=messages,
    )
    check_size(sum(_utf8_length(content, where) for content in document.contents), where)
    return document if any(content.strip() for content in document.contents) else None


def raise_on_error(items: Iterable[Document | DataError]) -> Iterator[Document]:
    """Yield documents, and raise the first error among them.

    Raises: DataError
    """
    for item in items:
        if isinstance(item, DataError):
            raise item
        yield item


def check_size(num_bytes: int, where: str) -> None:
    """Refuse a document larger than `MAX_DOCUMENT_BYTES`.

    Raises: DataError
    """
    if num_bytes > MAX_DOCUMENT_BYTES:
        raise DataError(f"{where}: the document is larger than {MAX_DOCUMENT_BYTES} bytes: split it into several")


def _parse_message(item: object, where: str) -> Message:
    if not isinstance(item, Mapping):
        raise DataError(f"{where} is {type(item).__name__}, not an object with role and content")
    role, content = item.get("role"), item.get("content")
    if not is_role(role):
        raise DataError(f"{where}: role {role!r} is not one of {', '.join(ROLES)}")
    if isinstance(content, list) and all(isinstance(part, Mapping) and _is_text(part) for part in content):
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise DataError(f"{where}: content is {type(content).__name__}, not a string or a list of text parts")
    return Message(role, content)


def _is_text(part: Mapping[str, Any]) -> bool:
    return part.get("type") == "text" and isinstance(part.get("text"), str)


def _utf8_length(text: str, where: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: character {error.start} is half of a surrogate pair, not valid Unicode: repair or remove it"
        ) from None
