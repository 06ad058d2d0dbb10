import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from baicai.data import tokenizer as tokenizer_module
from baicai.data.byte_level import split_text
from baicai.data.chat_template import SPECIALS
from baicai.data.document import Document, Message
from baicai.data.tokenizer import Detokenizer, Tokenizer, train_tokenizer
from baicai.errors import ArtefactError, BaicaiError, DataError
from tests.data.texts import document, text

TEXTS = [
    "",
    " leading and trailing ",
    "a\r\n\tb  c\u00a0d\u2028e\u3000f",
    "1234567890 ½ Ⅷ ٣",
    "白菜 é e\u0301 👩‍👩‍👧‍👦 \U0010ffff \x00\x1f\x7f",
    "".join(map(chr, range(0x20, 0x250))),
    "don't we'LL",
]


@pytest.mark.parametrize("content", TEXTS)
def test_every_text_round_trips(tokenizer: Tokenizer, content: str) -> None:
    assert tokenizer.decode(tokenizer.encode(content)) == content


def test_random_text_round_trips(tokenizer: Tokenizer) -> None:
    draw = random.Random(0)
    texts = [
        "".join(chr(draw.choice([draw.randrange(0xD800), draw.randrange(128)])) for _ in range(50)) for _ in "x" * 200
    ]
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(texts)] == texts


def test_special_tokens_in_a_text_stay_text(tokenizer: Tokenizer) -> None:
    content = f"a{''.join(SPECIALS)} b<|end|>"
    ids = tokenizer.encode(content)
    assert not set(ids) & {0, 1, 2, 3}
    assert tokenizer.decode(ids) == content
    assert tokenizer.decode([tokenizer.end_id, *ids, *tokenizer.stop_ids]) == content


def test_ids_of_specials(tokenizer: Tokenizer) -> None:
    assert (tokenizer.end_id, tokenizer.stop_ids) == (0, (0, 1, 2, 3))
    assert tokenizer.vocab_size == 300


def test_documents_and_chats_are_framed(tokenizer: Tokenizer) -> None:
    encode = tokenizer.encode
    assert tokenizer.encode_document(Document("", "a b", "", "")) == [*encode("a b"), 0]
    system, ask, answer = Message("system", "be kind"), Message("user", "hi"), Message("assistant", "ho")
    framed = [1, *encode("be kind"), 0, 2, *encode("hi"), 0]
    assert tokenizer.encode_document(Document("", "", "", "", (system, ask, answer))) == [*framed, 3, *encode("ho"), 0]
    assert tokenizer.encode_chat([system, ask]) == [*framed, 3]
    assert tokenizer.encode_chat([]) == [3]


def test_a_batch_equals_single_encoding(tokenizer: Tokenizer) -> None:
    documents = [document(1), Document("", "", "", "", (Message("user", "hi"), Message("assistant", "")))]
    documents += [Document("", "", "", ""), document(2)]
    batch = tokenizer.encode_documents(documents)
    assert [ids.tolist() for ids in batch] == [tokenizer.encode_document(one) for one in documents]


def test_splitting_a_long_text_changes_no_token(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    content = "\n \n".join(text(n) for n in range(20)) + "  \n\n x" * 30
    whole = tokenizer.encode(content)
    monkeypatch.setattr(tokenizer_module, "_PIECE", 10)
    monkeypatch.setattr(tokenizer_module, "_GROUP", 30)
    assert len(list(split_text(content, 10))) > 100
    assert tokenizer.encode(content) == whole
    assert list(split_text("x" * 100, 10)) == ["x" * 100]


def test_token_bytes_sum_to_the_length_of_the_text(tokenizer: Tokenizer) -> None:
    num_bytes = tokenizer.bytes_per_token()
    assert num_bytes.dtype == np.int64
    assert num_bytes.shape == (300,)
    assert num_bytes[:4].tolist() == [0, 0, 0, 0]
    assert num_bytes[4:260].tolist() == [1] * 256
    for content in TEXTS:
        assert num_bytes[tokenizer.encode(content)].sum() == len(content.encode())


def test_streamed_text_equals_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("菜👩‍👧 é!")
    decoder = Detokenizer(tokenizer)
    pieces = [decoder.feed(token_id) for token_id in ids]
    assert "".join(pieces) + decoder.flush() == "菜👩‍👧 é!"
    assert "" in pieces
    assert "\ufffd" not in "".join(pieces)


def test_broken_bytes_are_replaced_the_same_way_when_streamed(tokenizer: Tokenizer) -> None:
    draw = random.Random(0)
    decoder = Detokenizer(tokenizer)
    for _ in range(200):
        ids = [draw.randrange(300) for _ in range(draw.randrange(12))]
        assert "".join(map(decoder.feed, ids)) + decoder.flush() == tokenizer.decode(ids)


def test_saving_and_opening_preserves_the_tokenizer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        again = Tokenizer.open(path)
        assert again.hash == tokenizer.hash
        assert again.encode(text(1) + "<|end|>") == tokenizer.encode(text(1) + "<|end|>")
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()), indent=3))
    assert Tokenizer.open(file).hash == tokenizer.hash


def test_the_saved_file_works_in_tokenizers(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for content in [*TEXTS, text(3)]:
        assert theirs.encode(content).ids == tokenizer.encode(content)
        assert theirs.decode(theirs.encode(content).ids) == content


def damage(definition: dict[str, object], **changes: object) -> str:
    return json.dumps({**definition, **changes})


def test_a_damaged_tokenizer_is_a_clear_error(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    file = tmp_path / "tokenizer.json"
    content = file.read_text()
    definition = json.loads(content)
    latin = {"type": "BPE", "vocab": {**{name: n for n, name in enumerate(SPECIALS)}, "▁a": 4}, "merges": []}
    table = {
        "is damaged (": content[:-100],
        "not a JSON object": "[]",
        "not a valid tokenizer: ": damage(definition, model=None),
        "not a byte-level BPE": damage(definition, decoder=None),
        "lacks the special token <|end|>": content.replace("<|end|>", "<|fin|>"),
        "token '▁a' is not written in the byte-level alphabet": damage(definition, model=latin),
    }
    for message, broken in table.items():
        file.write_text(broken)
        with pytest.raises(ArtefactError) as error:
            Tokenizer.open(file)
        assert message in str(error.value)
        assert str(file) in str(error.value)
    with pytest.raises(ArtefactError, match="is missing: train one or copy it again"):
        Tokenizer.open(tmp_path / "none.json")


def test_invalid_text_and_ids_are_clear_errors(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="half of a surrogate pair"):
        tokenizer.encode("a\ud800")
    for token_id in (-1, 300):
        with pytest.raises(DataError, match=f"token id {token_id} is outside the vocabulary of 300"):
            tokenizer.decode([token_id])
        with pytest.raises(DataError, match="outside"):
            Detokenizer(tokenizer).feed(token_id)


def test_impossible_training_is_a_clear_error() -> None:
    some = [document(1)]
    table = {
        "vocab_size = 259 is too small: bytes and special tokens alone need 260": ({"a": some}, 259),
        "no domains to train a tokenizer on": ({}, 300),
        "domain 'b' has no text": ({"a": some, "b": []}, 300),
        "the text yields only": ({"a": some}, 5000),
    }
    for message, (domains, vocab_size) in table.items():
        with pytest.raises(BaicaiError) as error:
            train_tokenizer(domains, vocab_size, 1000)
        assert message in str(error.value)


TRAIN = """
from baicai.data.tokenizer import train_tokenizer
from tests.data.texts import document
domains = {"a": (document(n) for n in range(80)), "b": (document(n) for n in range(100, 110))}
digest = train_tokenizer(domains, 330, 3000).hash
"""


def test_training_is_reproducible_across_processes() -> None:
    there = subprocess.run(
        [sys.executable, "-c", TRAIN + "print(digest)"],
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    here: dict[str, str] = {}
    exec(TRAIN, here)
    assert there.stdout.strip() == here["digest"]


def made_up_words(alphabet: str, count: int, seed: int) -> list[str]:
    """Return words of a made-up language: syllables that recur, so that there is something to merge."""
    draw = random.Random(seed)
    syllables = ["".join(draw.choices(alphabet, k=3)) for _ in range(60)]
    return ["".join(draw.choices(syllables, k=draw.randrange(1, 4))) for _ in range(count)]


def test_a_small_domain_in_another_script_gets_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    def documents(alphabet: str, count: int, seed: int) -> list[Document]:
        words = made_up_words(alphabet, count * 50, seed)
        return [Document("", " ".join(words[i : i + 50]), "", "") for i in range(0, len(words), 50)]

    large, small = documents("abcdefghijklmnop", 400, 0), documents("абвгдежзиклмноп", 20, 1)
    held_out = documents("абвгдежзиклмноп", 25, 1)[20:]

    def characters_per_token(tokenizer: Tokenizer) -> float:
        texts = [one.text for one in held_out]
        return sum(map(len, texts)) / sum(map(len, tokenizer.encode_batch(texts)))

    alone = characters_per_token(train_tokenizer({"small": small}, 380, 200_000))
    balanced = characters_per_token(train_tokenizer({"large": large, "small": small}, 500, 400_000))
    poured = characters_per_token(train_tokenizer({"all": [*large, *small]}, 500, 400_000))
    monkeypatch.setattr(tokenizer_module, "MAX_REPEATS", 1)
    kept_short = characters_per_token(train_tokenizer({"large": large, "small": small}, 500, 400_000))
    assert balanced > 0.9 * alone
    assert balanced > 1.3 * poured
    assert balanced > 1.3 * kept_short


def test_the_sample_covers_the_whole_domain() -> None:
    early = [Document("", "aaaa bbbb " * 50, "", "")] * 100
    late = [Document("", "cccc dddd " * 50, "", "")] * 100
    trained = train_tokenizer({"a": [*early, *late]}, 264, 4_000)
    assert {len(trained.encode(word)) for word in ("aaaa", "bbbb", "cccc", "dddd")} <= {1, 2}
