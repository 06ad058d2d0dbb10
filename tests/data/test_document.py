import pytest

from baicai.data import document as document_module
from baicai.data.document import Document, Message, parse_record
from baicai.errors import DataError


def parse(record: dict[str, object]) -> Document | None:
    return parse_record(record, "a.jsonl:3", name="a.jsonl:3", source="a.jsonl", licence="unknown")


def test_fields_of_a_row_take_precedence() -> None:
    parsed = parse({"id": 7, "text": "hi", "source": "wiki", "license": "CC0-1.0", "url": "ignored"})
    assert parsed == Document("7", "hi", "wiki", "CC0-1.0")
    assert parse({"text": "hi", "licence": "MIT"}) == Document("a.jsonl:3", "hi", "a.jsonl", "MIT")


def test_messages_may_have_text_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    parsed = parse({"text": None, "messages": [{"role": "user", "content": parts}]})
    assert parsed is not None
    assert parsed.messages == (Message("user", "ab"),)
    assert parsed.contents == ("ab",)


@pytest.mark.parametrize("record", [{"text": ""}, {"text": " \n"}, {"messages": [{"role": "user", "content": ""}]}])
def test_a_row_without_text_is_skipped(record: dict[str, object]) -> None:
    assert parse(record) is None


ASK = {"role": "user", "content": "?"}
BAD = {
    "neither text nor messages: add one (fields: title)": {"title": "x"},
    "both text and messages: keep one": {"text": "x", "messages": [ASK]},
    "text is int, not a string": {"text": 3},
    "character 1 is half of a surrogate pair": {"text": "a\ud800"},
    "messages must be a non-empty list": {"messages": []},
    "message 2 is str, not an object": {"messages": [ASK, "x"]},
    "message 1: role 'tool' is not one of system, user, assistant": {"messages": [{"role": "tool", "content": "x"}]},
    "message 1: content is NoneType": {"messages": [{"role": "user", "content": None}]},
    "message 1: content is list": {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
}


@pytest.mark.parametrize("message", BAD)
def test_an_invalid_row_is_a_clear_error(message: str) -> None:
    with pytest.raises(DataError) as error:
        parse(BAD[message])
    assert str(error.value).startswith("a.jsonl:3: ")
    assert message in str(error.value)


def test_a_document_has_a_maximum_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_module, "MAX_DOCUMENT_BYTES", 5)
    assert parse({"text": "12345"})
    with pytest.raises(DataError, match=r"a\.jsonl:3: the document is larger than 5 bytes: split it"):
        parse({"text": "菜菜"})
