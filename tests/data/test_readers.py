import bz2
import gzip
import json
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from baicai.artefact import value_hash
from baicai.data import document as document_module
from baicai.data import readers as readers_module
from baicai.data.document import Document, Message
from baicai.data.readers import fingerprint, read_documents, read_table
from baicai.errors import DataError
from baicai.synthesis import SyntheticText

LINES = [
    {"text": "one", "id": "first", "source": "wiki", "license": "MIT"},
    {"text": ""},
    {"messages": [{"role": "user", "content": "白菜?"}, {"role": "assistant", "content": "cabbage"}]},
]
JSONL = "\n".join(json.dumps(line) for line in LINES).encode()
CHAT = (Message("user", "白菜?"), Message("assistant", "cabbage"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    files = {
        "b/readme.md": b"# Title\r\n",
        "b/code.py": b"print(1)\n",
        "b/empty.txt": b"\n",
        "a.txt": b"\xef\xbb\xbfwith a mark",
        "B.txt.gz": gzip.compress("gr\u00fcn".encode()),
        "page.html": b"<p>hi <script>no()</script></p>",
        "rows.jsonl": JSONL + b"\n\n",
        "rows.ndjson.zst": zstandard.compress(JSONL),
        ".hidden": b"\xff",
        ".git/config": b"\xff",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_folder_is_read_in_order(folder: Path) -> None:
    documents = list(read_documents(folder, licence="CC0-1.0"))
    assert documents == [
        Document("B.txt.gz", "grün", "texts", "CC0-1.0"),
        Document("a.txt", "with a mark", "texts", "CC0-1.0"),
        Document("b/code.py", "print(1)\n", "texts", "CC0-1.0"),
        Document("b/readme.md", "# Title\r\n", "texts", "CC0-1.0"),
        Document("page.html", "hi", "texts", "CC0-1.0"),
        Document("first", "one", "wiki", "MIT"),
        Document("rows.jsonl:3", "", "texts", "CC0-1.0", CHAT),
        Document("first", "one", "wiki", "MIT"),
        Document("rows.ndjson.zst:3", "", "texts", "CC0-1.0", CHAT),
    ]


def test_a_single_file_is_read(folder: Path) -> None:
    assert list(read_documents(str(folder / "a.txt"))) == [Document("a.txt", "with a mark", "a.txt", "unknown")]
    assert [one.id for one in read_documents(folder / "rows.jsonl")] == ["first", "rows.jsonl:3"]


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    expected = list(read_documents(folder))
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "above").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    assert list(read_documents(folder)) == expected
    (tmp_path / "way_in").symlink_to(folder)
    assert [one.text for one in read_documents(tmp_path / "way_in")] == [one.text for one in expected]


def test_documents_are_read_lazily(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "one"}\nbroken\n')
    documents = read_documents(path)
    assert next(documents).text == "one"
    with pytest.raises(DataError, match=r"a\.jsonl:2"):
        next(documents)


def test_a_table_is_read_past_invalid_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baicai.data.readers.MAX_DOCUMENT_BYTES", 100)
    path = tmp_path / "a.jsonl.bz2"
    lines = [b'{"text": "one"}', b"broken", b"[" * 1000, b"", b'{"title": "none"}', b'{"text": "two"}', b'{"text": "']
    path.write_bytes(bz2.compress(b"\n".join(lines)))
    documents = list(read_table(path, "a", "texts", ""))
    assert [one.id if isinstance(one, Document) else str(one).split(":")[1] for one in documents] == [
        "a:1", "2", "3", "5", "a:6", "7",
    ]  # fmt: skip


BAD: dict[str, tuple[str, bytes]] = {
    "is not UTF-8 at byte 2: convert it (iconv -f LATIN1 -t UTF-8) or leave it out": ("x.txt", b"gr\xc3\xfcn"),
    "x.html is not UTF-8 at byte 0": ("x.html", b"\xff<p>"),
    "is not text (byte 1 is NUL): convert it to UTF-8": ("x.txt", "abc".encode("utf-16-le")),
    "x.jsonl:2: not valid JSON (": ("x.jsonl", b'{"text": "a"}\n{"text": '),
    "x.jsonl:1: not valid JSON ('utf-8' codec": ("x.jsonl", b'{"text": "\xff"}'),
    "x.jsonl:1: not valid JSON (maximum recursion": ("x.jsonl", b"[" * 100_000),
    "x.jsonl:1: expected an object with text or messages, got list": ("x.jsonl", b"[1]"),
    "x.jsonl:1: has neither text nor messages": ("x.jsonl", b'{"title": "a"}'),
    "x.jsonl:1: character 0 is half of a surrogate pair": ("x.jsonl", b'{"text": "\\ud800"}'),
    "x.txt: the document is larger than 1000000 bytes: split it": ("x.txt", b"x" * 1_000_001),
    "x.jsonl:2: the document is larger than": ("x.jsonl", b"\n" + b" " * 1_000_001),
    "x.jsonl.gz cannot be decompressed": ("x.jsonl.gz", b"no"),
}


@pytest.mark.parametrize("message", BAD)
def test_unreadable_input_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    for module in (document_module, readers_module):
        monkeypatch.setattr(module, "MAX_DOCUMENT_BYTES", 1_000_000)
    name, content = BAD[message]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        list(read_documents(tmp_path))
    assert message in str(error.value)
    assert str(error.value).startswith(str(tmp_path / name))


def test_a_missing_source_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("x")
    with pytest.raises(DataError, match="has no files to read: hidden files and symbolic links are skipped"):
        list(read_documents(tmp_path))
    for read in (read_documents, fingerprint):
        with pytest.raises(DataError, match="corpus nowhere does not exist: check the path"):
            read("nowhere")
    (tmp_path / "a").mkdir(mode=0o000)
    if os.geteuid() != 0:  # root may read everything
        with pytest.raises(DataError, match="cannot be read"):
            list(read_documents(tmp_path))


def test_a_generator_is_called_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(name: str, parameters: dict[str, str]) -> Iterator[SyntheticText]:
        yield SyntheticText(name, repr(parameters), "made", "CC0-1.0")

    monkeypatch.setitem(sys.modules, "baicai.synthesis", types.SimpleNamespace(generate=generate))
    assert [one.text for one in read_documents("generator:world?seed=3&kind=a%20b&x=")] == [
        "{'seed': '3', 'kind': 'a b', 'x': ''}"
    ]
    assert [(one.id, one.text) for one in read_documents("generator:world")] == [("world", "{}")]
    with pytest.raises(DataError, match=r"generator:world\?seed: 'seed' must have the form key=value&key=value"):
        read_documents("generator:world?seed")


def test_a_fingerprint_follows_names_and_contents(folder: Path, tmp_path: Path) -> None:
    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: (folder / "a.txt").write_bytes(b"other"),
        lambda: (folder / "a.txt").rename(folder / "c.txt"),
        lambda: (folder / "c.txt").unlink(),
        lambda: folder.rename(tmp_path / "moved").rename(folder) and (folder / "new.txt").write_text(""),
    ]
    seen = []
    for change in changes:
        change()
        seen.append(value_hash(fingerprint(folder)))
    assert len(set(seen)) == len(changes)
    (folder / ".hidden").write_text("ignored")
    os.utime(folder / "b/code.py", (1, 1))
    assert value_hash(fingerprint(folder)) == seen[-1]
    assert fingerprint("generator:a?x=1") != fingerprint("generator:a?x=2")
    assert fingerprint("generator:a?x=1") == fingerprint("generator:a?x=1")


def test_the_version_must_be_raised_when_reading_changes(folder: Path) -> None:
    documents = [
        [one.id, one.text, one.source, one.licence, *map(repr, one.messages)] for one in read_documents(folder)
    ]
    assert (readers_module.VERSION, value_hash(documents)[:8]) == (1, "45ae40c0")
