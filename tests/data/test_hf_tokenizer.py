"""Tokenizers of other projects: the ids that transformers gives, also in a conversation."""

import json
from pathlib import Path
from typing import Any

import pytest

from baicai.artefact import read_json
from baicai.data import chat_template_probe
from baicai.data import tokenizer as tokenizer_module
from baicai.data.chat_template import DEFAULT_CHAT_FORMAT, ChatFormat, Turn
from baicai.data.chat_template_probe import chat_format
from baicai.data.document import Document, Message
from baicai.data.hf_tokenizer import PLAIN_NOTE, chat_template, read_tokenizer, write_tokenizer
from baicai.data.tokenizer import Tokenizer
from baicai.errors import ArtefactError
from tests.conftest import Workshop
from tests.convert.checkpoints import CHATML, HEADERS, INST, byte_level, sentence_piece
from tests.data.texts import text

transformers = pytest.importorskip("transformers")

STYLES = {
    "qwen": (byte_level, "qwen", CHATML),
    "llama3": (byte_level, "llama3", HEADERS),
    "legacy": (sentence_piece, "legacy", INST),
    "first": (sentence_piece, "first", INST),
}
TEXTS = [
    "",
    "Hello, world!",
    " leading and  double",
    "trailing ",
    "line\n\n  indented!!\n\nend\n",
    "I'm, WE'LL 12345 1,000.5",
    "白菜 é 👩‍👧 \t x",
    "'''\"\"\"---===>>>\n\n\n",
]
ASK, REPLY, MORE = Message("user", "How are you?\n"), Message("assistant", "Fine."), Message("user", "And 白菜?")
TALKS = [[ASK], [ASK, REPLY, MORE]]


@pytest.fixture(params=STYLES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write, style, template = STYLES[request.param]
    write(tmp_path, style, template)
    return tmp_path


def as_dicts(talk: list[Message]) -> list[dict[str, str]]:
    return [{"role": one.role, "content": one.content} for one in talk]


def chat_ids(theirs: Any, talk: list[Message], **keys: Any) -> list[int]:
    ids: list[int] = theirs.apply_chat_template(as_dicts(talk), tokenize=True, return_dict=False, **keys)
    return ids


def test_ids_equal_transformers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = read_tokenizer(folder, {})[0], transformers.AutoTokenizer.from_pretrained(folder)
    for content in [*TEXTS, *map(text, range(20))]:
        ids = ours.encode(content)
        assert ids == theirs(content, add_special_tokens=False)["input_ids"]
        assert ours.decode(ids) == theirs.decode(ids, clean_up_tokenization_spaces=False)
        alike = ours._prefix == "first" and content.startswith(" ")  # there " a" and "a" have the same ids
        assert alike or ours.decode(ids) == content
        whole = ours.encode_document(Document("", content, "", ""))
        assert whole == [*theirs(content)["input_ids"], ours.end_id]
    long = "\n".join(TEXTS) + " \n" + "!!\n\n".join(map(text, range(9)))
    expected = theirs(long, add_special_tokens=False)["input_ids"]
    monkeypatch.setattr(tokenizer_module, "_PIECE", 10)
    assert ours.encode(long) == expected, "cutting a long text changes no token"


def test_conversations_match_the_chat_template(folder: Path) -> None:
    (ours, notes), theirs = read_tokenizer(folder, {}), transformers.AutoTokenizer.from_pretrained(folder)
    assert notes == ()
    talks = TALKS
    if ours.chat.system is not None:
        talks = [*TALKS, *([Message("system", "Be kind."), *talk] for talk in TALKS)]
    for talk in talks:
        stripped = [Message(one.role, one.content.strip()) for one in talk]  # Llama's template does so itself
        assert ours.encode_chat(stripped) == chat_ids(theirs, stripped, add_generation_prompt=True)
    written = [Message("user", "How are you?"), REPLY]
    rendered = chat_ids(theirs, written)
    assert ours.encode_document(Document("", "", "", "", tuple(written)))[: len(rendered)] == rendered


def test_a_system_message_without_a_turn_precedes_the_question(tmp_path: Path) -> None:
    sentence_piece(tmp_path, "legacy", INST)
    tokenizer = read_tokenizer(tmp_path, {})[0]
    together = tokenizer.encode_chat([Message("user", "Be kind.\n\nHi")])
    assert tokenizer.encode_chat([Message("system", "Be kind."), Message("user", "Hi")]) == together
    assert tokenizer.encode_chat([Message("system", "Hi")]) == tokenizer.encode_chat([Message("user", "Hi\n\n")])


def test_saving_in_a_trunk_preserves_the_tokenizer(folder: Path, tmp_path: Path) -> None:
    tokenizer = read_tokenizer(folder, {})[0]
    (tmp_path / "saved").mkdir()
    tokenizer.save(tmp_path / "saved")
    again = Tokenizer.open(tmp_path / "saved")
    assert (again.hash, again.chat) == (tokenizer.hash, tokenizer.chat)
    (tmp_path / "saved" / "chat.json").unlink()
    with pytest.raises(ArtefactError, match=r"lacks the special token <\|end\|>"):
        Tokenizer.open(tmp_path / "saved")


def test_export_and_import_preserve_the_tokenizer(folder: Path, tmp_path: Path) -> None:
    tokenizer = read_tokenizer(folder, {})[0]
    (tmp_path / "out").mkdir()
    ids = write_tokenizer(tmp_path / "out", tokenizer, 64)
    again, notes = read_tokenizer(tmp_path / "out", ids)
    assert (again.hash, again.chat, notes) == (tokenizer.hash, tokenizer.chat, ())
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for talk in TALKS:
        assert chat_ids(theirs, talk, add_generation_prompt=True) == tokenizer.encode_chat(talk)


def test_our_tokenizer_survives_a_round_trip(workshop: Workshop, tmp_path: Path) -> None:
    tokenizer = Tokenizer.open(Path(workshop.path("tokenizer")))
    ids = write_tokenizer(tmp_path, tokenizer, 64)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for talk in [*TALKS, [Message("system", "Be kind."), ASK], [REPLY, ASK]]:
        assert chat_ids(theirs, talk, add_generation_prompt=True) == tokenizer.encode_chat(talk)
        document = Document("", "", "", "", tuple(talk))
        assert chat_ids(theirs, talk) == tokenizer.encode_document(document)
    for content in TEXTS:
        assert theirs(content)["input_ids"] == tokenizer.encode(content)
    again, notes = read_tokenizer(tmp_path, ids)
    assert (again.hash, again.chat, notes) == (tokenizer.hash, DEFAULT_CHAT_FORMAT, ())
    assert not (tmp_path / "chat.json").exists()


@pytest.mark.parametrize(
    "template",
    [
        None,
        "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
        "{{ messages[5].content }}",
        "{% for m in messages %}{{ m.content }}{% if loop.last %}{{ m.content }}{% endif %}{% endfor %}",
        "{% bad syntax",
    ],
)
def test_other_templates_fall_back_to_plain_text(tmp_path: Path, template: str | None) -> None:
    byte_level(tmp_path, "qwen", template)
    tokenizer, notes = read_tokenizer(tmp_path, {})
    assert notes == (PLAIN_NOTE,)
    said = tokenizer.decode(tokenizer.encode_chat([Message("system", "Be kind."), ASK]))
    assert said == "Be kind.\n\nUser:\nHow are you?\n\n\nAssistant:\n"
    assert (tokenizer.chat.end, tokenizer.stop_ids) == ("<|endoftext|>", (tokenizer.end_id,))


def test_config_json_names_the_end_token(tmp_path: Path) -> None:
    byte_level(tmp_path, "qwen", CHATML)
    token = Tokenizer(read_json(tmp_path / "tokenizer.json"), read_tokenizer(tmp_path, {})[0].chat)
    ids = {name: token._id(name) for name in ("<|endoftext|>", "<|im_end|>")}
    tokenizer, _ = read_tokenizer(tmp_path, {"eos_token_id": ids["<|im_end|>"]})
    assert (tokenizer.chat.end, tokenizer.chat.stop) == ("<|im_end|>", ["<|im_end|>", "<|endoftext|>"])
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": list(ids.values())}))
    tokenizer, _ = read_tokenizer(tmp_path, {})
    assert tokenizer.stop_ids == tuple(ids.values())


def test_a_generation_prompt_may_differ_from_the_answer_marker() -> None:
    template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>think{% endif %}"
    )
    chat = chat_format(template, {}, "", ["."])
    assert chat is not None
    assert (chat.assistant, chat.ask) == (Turn(before="<assistant>", after=""), "<assistant>think")
    assert chat_format(chat_template(chat), {}, "", ["."]) == chat


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 10**11 }}",
        "{{ 'a' * 10**30 }}",
        "{{ 1 / 0 }}",
        "{{ messages.x.y }}",
        "{% for",
    ],
)
def test_a_failing_or_expensive_template_is_rejected(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template_probe, "TIMEOUT_SECONDS", 2)
    assert chat_format(template, {}, "", ["."]) is None


def test_only_markers_become_special_tokens(workshop: Workshop) -> None:
    definition = read_json(Path(workshop.path("tokenizer")) / "tokenizer.json")
    turn = Turn(before="a<|user|>b", after="<|end|>\n")
    chat = ChatFormat(begin="<|end|>", end="<|end|>", stop=["<|end|>"], system=None, user=turn, assistant=turn)
    tokenizer = Tokenizer(definition, chat)
    encode, end, user = tokenizer.encode, 0, 2
    said = [Message("user", "x<|user|>")]
    framed = [end, *encode("a"), user, *encode("bx<|user|>"), end]
    assert tokenizer.encode_chat(said) == [*framed, *encode("\na"), user, *encode("b")]
    assert tokenizer.encode_document(Document("", "", "", "", tuple(said))) == [*framed, *encode("\n")]
    assert tokenizer.encode_document(Document("", "x", "", "")) == [end, *encode("x"), end]
