import json
import sys
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from baicai.data.document import Document, Message
from baicai.data.readers import fingerprint, read_documents
from baicai.errors import DataError, MachineError

CHAT = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
MESSAGES = (Message("user", "?"), Message("assistant", "!"))


def test_parquet_rows_are_documents(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "license": "MIT" if n % 2 else None, "picture": b"\xff"} for n in range(300)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=100)
    pq.write_table(pa.table({"messages": [CHAT], "id": ["x"]}), tmp_path / "b.parquet")
    documents = list(read_documents(tmp_path))
    name = tmp_path.name
    assert documents[0] == Document("a.parquet:1", "text 0", name, "unknown")
    assert documents[299] == Document("a.parquet:300", "text 299", name, "MIT")
    assert documents[300:] == [Document("x", "", name, "unknown", MESSAGES)]


def test_invalid_parquet_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"title": ["x"]}), path)
    with pytest.raises(DataError, match=r"a\.parquet: row 1: has neither text nor messages"):
        list(read_documents(path))
    pq.write_table(pa.table({"text": ["x" * 1000]}), path)
    for broken in (b"no", path.read_bytes()[:-9]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"a\.parquet cannot be read as Parquet \(.+\): copy or write it again"):
            list(read_documents(path))


@pytest.fixture
def rows() -> Any:
    return datasets.Dataset.from_list([{"text": "one", "id": "1"}, {"text": "two", "id": "2"}])


def test_a_saved_dataset_is_read(tmp_path: Path, rows: Any) -> None:
    rows.select([1, 0]).save_to_disk(tmp_path / "one")
    assert list(read_documents(tmp_path / "one", licence="MIT")) == [
        Document("2", "two", "one", "MIT"),
        Document("1", "one", "one", "MIT"),
    ]
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "many")
    assert [(one.text, one.source) for one in read_documents(tmp_path / "many")] == [("one", "many"), ("two", "many")]
    datasets.Dataset.from_dict({"messages": [CHAT]}).save_to_disk(tmp_path / "chat")
    assert [one.messages for one in read_documents(tmp_path / "chat")] == [MESSAGES]


def test_an_unreadable_saved_dataset_is_a_clear_error(tmp_path: Path, rows: Any) -> None:
    datasets.DatasetDict({"a": rows, "b": rows}).save_to_disk(tmp_path / "many")
    with pytest.raises(DataError, match="many has no split 'train': use one of its folders: a, b"):
        list(read_documents(tmp_path / "many"))
    rows.save_to_disk(tmp_path / "one")
    arrow = next((tmp_path / "one").glob("*.arrow"))
    content = arrow.read_bytes()
    for broken in (b"no arrow", content[:100]):
        arrow.write_bytes(broken)
        with pytest.raises(DataError, match=r"one cannot be loaded \(.+\): save the data set again"):
            list(read_documents(tmp_path / "one"))
    arrow.unlink()
    with pytest.raises(DataError, match="one cannot be loaded"):
        list(read_documents(tmp_path / "one"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand for the hub: the loader takes owner/name for a folder when there is one."""
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    for split, text in (("train", "learn"), ("test", "check")):
        (folder / f"{split}.jsonl").write_text(json.dumps({"text": text}) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for constants in (datasets.config, huggingface_hub.constants):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def test_a_hub_dataset_is_streamed(hub: Path) -> None:
    expected = Document("owner/name:1", "learn", "owner/name", "MIT")
    assert list(read_documents("hf:owner/name", licence="MIT")) == [expected]
    assert [one.text for one in read_documents("hf:owner/name::test")] == ["check"]
    assert [one.text for one in read_documents("hf:owner/name:default:test")] == ["check"]


def test_an_unreadable_hub_dataset_is_a_clear_error(hub: Path) -> None:
    table = {
        "hf:": "is not of the form hf:owner/name",
        "hf:owner/name:a:b:c": "for example hf:owner/name::test",
        "hf:owner/name::none": "hf:owner/name::none cannot be loaded (",
        "hf:owner/name:none": "hf:owner/name:none cannot be loaded (",
    }
    for source, message in table.items():
        with pytest.raises(DataError) as error:
            list(read_documents(source))
        assert message in str(error.value)
    for read in (lambda source: list(read_documents(source)), fingerprint):
        with pytest.raises(DataError, match=r"nobody/nothing cannot be loaded .*: check the name and the connection"):
            read("hf:nobody/nothing")


def test_the_fingerprint_of_a_hub_dataset_follows_its_files(hub: Path) -> None:
    first = fingerprint("hf:owner/name")
    assert fingerprint("hf:owner/name") == first
    assert fingerprint("hf:owner/name::test") != first
    (hub / "train.jsonl").write_text('{"text": "changed and longer"}\n')
    assert fingerprint("hf:owner/name") != first


def test_a_missing_package_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MachineError, match=r"a\.parquet needs pyarrow: pip install baicai\[parquet\]"):
        list(read_documents(tmp_path))
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "state.json").write_text("{}")
    for source in (str(tmp_path), "hf:owner/name"):
        with pytest.raises(MachineError, match=r"needs datasets: pip install baicai\[hub\]"):
            list(read_documents(source))
