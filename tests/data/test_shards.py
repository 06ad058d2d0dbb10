import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baicai.artefact import locked
from baicai.data import shards as shards_module
from baicai.data.chat_template import SPECIALS
from baicai.data.document import Document
from baicai.data.shards import TokenShards, cached_shards, write_shards, write_tokens
from baicai.data.tokenizer import Tokenizer
from baicai.errors import ArtefactError, BaicaiError, ConfigError, DataError, MachineError
from tests.data.texts import document, text

MakeShards = Callable[..., TokenShards]


def all_tokens(tokenizer: Tokenizer, first: int, count: int) -> list[int]:
    return [token for n in range(first, first + count) for token in tokenizer.encode_document(document(n))]


def test_shards_hold_the_tokens_in_order(make_shards: MakeShards, tokenizer: Tokenizer) -> None:
    shards = make_shards("a", 0, 30, shard_tokens=700)
    expected = all_tokens(tokenizer, 0, 30)
    assert len(list(shards.folder.glob("tokens-*.bin"))) == -(-len(expected) // 700) > 3
    assert shards.num_tokens == len(expected)
    assert shards.read(0, shards.num_tokens).tolist() == expected
    assert shards.read(690, 1500).tolist() == expected[690:2190]
    assert shards.read(5, 0).tolist() == []
    assert shards.num_bytes == sum(len(text(n).encode()) for n in range(30))


def test_windows_share_one_token_and_cover_every_target_once(make_shards: MakeShards, tokenizer: Tokenizer) -> None:
    shards = make_shards("a", 0, 5)
    expected = all_tokens(tokenizer, 0, 5)
    windows = [shards.window(i, 32) for i in range(shards.num_windows(32))]
    assert {(window.shape, window.dtype) for window in windows} == {((33,), np.dtype(np.int64))}
    targets = [token for window in windows for token in window[1:].tolist()]
    assert targets == expected[1 : 1 + len(targets)]
    assert len(expected) - 1 - len(targets) < 32
    for tokens, count in ((31, 0), (32, 0), (33, 1), (64, 1), (65, 2)):
        shards.num_tokens = tokens
        assert shards.num_windows(32) == count


def test_the_manifest_describes_the_shards(tokenizer: Tokenizer, tmp_path: Path) -> None:
    documents = [document(1), Document("x", "y", "other", "MIT"), document(2)]
    shards = write_shards(documents, tokenizer, tmp_path / "a")
    assert shards.manifest.sources == {"made": 2, "other": 1}
    assert shards.manifest.licences == {"CC0-1.0": 2, "MIT": 1}
    assert shards.manifest.documents == 3
    assert shards.manifest.tokenizer == shards.tokenizer_hash == tokenizer.hash
    assert shards.manifest.dtype == "<u2"


def test_the_hash_covers_the_content(make_shards: MakeShards, tokenizer: Tokenizer, tmp_path: Path) -> None:
    first = make_shards("a", 0, 5)
    assert make_shards("b", 0, 5).hash == first.hash
    assert make_shards("c", 1, 5).hash != first.hash
    renamed = [Document(one.id, one.text, "elsewhere", one.licence) for one in map(document, range(5))]
    assert write_shards(renamed, tokenizer, tmp_path / "d", shard_tokens=1000).hash == first.hash


def test_the_number_of_counted_sources_is_limited(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards_module, "_MAX_NAMES", 2)
    documents = [Document("", "x", source, "MIT") for source in "abacda"]
    assert write_shards(documents, tokenizer, tmp_path / "a").manifest.sources == {"(others)": 2, "a": 3, "b": 1}


def test_batch_size_does_not_change_the_shards(
    make_shards: MakeShards, monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    whole = make_shards("a", 0, 20)
    monkeypatch.setattr(shards_module, "_BATCH_CHARACTERS", 300)
    assert make_shards("b", 0, 20).hash == whole.hash


@pytest.mark.parametrize("max_tokens", [1, 50, 333, 10**6])
def test_max_tokens_keeps_the_first_tokens(tokenizer: Tokenizer, tmp_path: Path, max_tokens: int) -> None:
    expected = all_tokens(tokenizer, 0, 9)[:max_tokens]
    shards = write_shards(map(document, range(9)), tokenizer, tmp_path / "a", max_tokens=max_tokens)
    assert shards.read(0, shards.num_tokens).tolist() == expected
    assert shards.num_bytes == tokenizer.bytes_per_token()[expected].sum()
    lengths = np.cumsum([0] + [len(tokenizer.encode_document(document(n))) for n in range(9)])
    assert shards.manifest.documents == (lengths[:9] < max_tokens).sum()


def test_a_large_vocabulary_takes_four_bytes(tokenizer: Tokenizer, tmp_path: Path) -> None:
    names = [*SPECIALS, *tokenizer.definition["model"]["vocab"], *(f"a{n}" for n in range(70_000))]
    vocab = {name: n for n, name in enumerate(dict.fromkeys(names))}
    model = {**tokenizer.definition["model"], "vocab": vocab, "merges": []}
    large = Tokenizer({**tokenizer.definition, "model": model})
    shards = write_tokens(np.array([1, 69_999]), large, tmp_path / "a", source="made", licence="MIT")
    assert shards.manifest.dtype == "<u4"
    assert shards.read(0, 2).tolist() == [1, 69_999]


def test_written_tokens_are_read_again(tokenizer: Tokenizer, tmp_path: Path) -> None:
    shards = write_tokens(np.array([5, 0, 299]), tokenizer, tmp_path / "a", source="sample", licence="MIT")
    assert shards.read(0, 3).tolist() == [5, 0, 299]
    assert (shards.manifest.sources, shards.manifest.licences) == ({"sample": 1}, {"MIT": 1})
    with pytest.raises(DataError, match="no tokens from sample to write"):
        write_tokens(np.array([], dtype=int), tokenizer, tmp_path / "b", source="sample", licence="MIT")


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


DAMAGES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "bytes, expected 2000": ("tokens-00000.bin", lambda file: file.write_bytes(file.read_bytes()[:-3])),
    "its sha256 does not match the manifest": ("tokens-00001.bin", flip),
    "No such file": ("tokens-00001.bin", Path.unlink),
    "manifest.json is missing": ("manifest.json", Path.unlink),
    "manifest.json cannot be read": ("manifest.json", lambda file: file.write_bytes(file.read_bytes()[:-9])),
    "format 9 is not 1": ("manifest.json", lambda file: edit(file, format=9)),
    "its hash or counts do not match": ("manifest.json", lambda file: edit(file, licences={"MIT": 30})),
    "do not match its content": ("manifest.json", lambda file: edit(file, files=[])),
    "unknown key 'extra'": ("manifest.json", lambda file: edit(file, extra=1)),
    "key 'tokens' = 'many'": ("manifest.json", lambda file: edit(file, tokens="many")),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_opening_detects_damage(make_shards: MakeShards, message: str) -> None:
    shards = make_shards("a", 0, 30)
    name, damage = DAMAGES[message]
    TokenShards.open(shards.folder)
    damage(shards.folder / name)
    with pytest.raises(ArtefactError) as error:
        TokenShards.open(shards.folder)
    assert message in str(error.value)
    assert str(shards.folder / name) in str(error.value)


def test_reading_detects_damage(make_shards: MakeShards) -> None:
    shards = make_shards("a", 0, 30)
    file = shards.folder / "tokens-00000.bin"
    content = file.read_bytes()
    file.write_bytes(b"\xff\xff" + content[2:])
    with pytest.raises(ArtefactError, match="it contains token 65535, but the vocabulary has 300 tokens"):
        shards.read(0, 10)
    file.write_bytes(content[:1000])
    with pytest.raises(ArtefactError, match="it is shorter than when it was opened"):
        shards.read(490, 100)
    file.unlink()
    with pytest.raises(ArtefactError, match="No such file"):
        shards.read(0, 10)


def test_a_failed_write_leaves_no_files(tokenizer: Tokenizer, tmp_path: Path) -> None:
    def full_disk() -> Iterator[Document]:
        yield document(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    table: dict[str, tuple[Any, type[BaicaiError], int | None]] = {
        "the corpus has no text": ([], DataError, None),
        "no space left while writing": (full_disk(), MachineError, None),
        "max_tokens = 0 must be at least 1": ([document(1)], ConfigError, 0),
    }
    for message, (documents, kind, max_tokens) in table.items():
        with pytest.raises(kind, match=message):
            write_shards(documents, tokenizer, tmp_path / "a", max_tokens=max_tokens)
        assert list(tmp_path.iterdir()) == []
    write_shards([document(1)], tokenizer, tmp_path / "a")
    with pytest.raises(ArtefactError, match="already exists"):
        write_shards([document(1)], tokenizer, tmp_path / "a")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.txt").write_text(text(n))
    return folder


def test_a_source_is_tokenized_once(
    corpus: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cached_shards(str(corpus), tokenizer, tmp_path / "cache", licence="MIT")
    monkeypatch.setattr(shards_module, "write_shards", None)
    again = cached_shards(str(corpus), tokenizer, tmp_path / "cache", licence="MIT")
    assert (again.folder, again.hash) == (first.folder, first.hash)
    assert again.manifest.licences == {"MIT": 3}
    assert again.manifest.sources == {"corpus": 3}


def test_a_changed_source_is_tokenized_again(corpus: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    seen = {cached_shards(str(corpus), tokenizer, cache).hash}
    file = corpus / "1.txt"
    before = file.stat()
    file.write_text(text(1).replace("leaf", "lead"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    seen.add(cached_shards(str(corpus), tokenizer, cache).hash)
    (corpus / "0.txt").rename(corpus / "9.txt")
    seen.add(cached_shards(str(corpus), tokenizer, cache).hash)
    seen.add(cached_shards(str(corpus), tokenizer, cache, max_tokens=20).hash)
    seen.add(cached_shards(str(corpus), tokenizer, cache, licence="MIT").hash)
    assert len(seen) == 5


def test_a_source_that_changes_while_read_is_not_cached(
    corpus: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reading(source: str, licence: str) -> Iterator[Document]:
        (corpus / "2.txt").write_text("changed")
        yield document(1)

    monkeypatch.setattr(shards_module, "read_documents", reading)
    with pytest.raises(DataError, match="changed while it was read: run the same command again"):
        cached_shards(str(corpus), tokenizer, tmp_path / "cache")
    assert list((tmp_path / "cache").glob("[!.]*")) == []


def test_another_process_may_be_first(
    corpus: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cached_shards(str(corpus), tokenizer, tmp_path / "cache")
    shutil.move(first.folder, tmp_path / "other")
    monkeypatch.setattr(shards_module, "write_shards", None)
    with ThreadPoolExecutor() as pool:
        with locked(first.folder):
            second = pool.submit(cached_shards, str(corpus), tokenizer, tmp_path / "cache")
            time.sleep(0.1)
            shutil.move(tmp_path / "other", first.folder)
        assert second.result().hash == first.hash
