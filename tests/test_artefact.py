"""Atomic folders, and the hashes that name artefacts."""

import errno
import hashlib
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from baicai.artefact import (
    atomic_folder,
    find_artefact,
    read_json,
    read_tensors,
    register_artefact,
    remove_leftovers,
    tensors_hash,
    value_hash,
    write_atomic,
    write_json,
    write_tensors,
)
from baicai.errors import ArtefactError, MachineError

TENSORS = {"a": torch.arange(6, dtype=torch.float32).view(2, 3), "b": torch.tensor(1.5)}


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_folder_appears_atomically(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with atomic_folder(out) as part:
        (part / "inner").mkdir()
        (part / "inner" / "x").write_text("1")
        write_tensors(part / "t.safetensors", TENSORS)
        assert not out.exists()
        assert part.parent == out.parent, "a rename must not cross file systems"
    assert names(tmp_path / "deep") == ["out"]
    assert names(out) == ["inner", "t.safetensors"]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(1)])
def test_an_exception_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    def write() -> None:
        with atomic_folder(tmp_path / "out") as part:
            (part / "x").write_text("1")
            raise error

    with pytest.raises(type(error)):
        write()
    assert names(tmp_path) == []


def test_existing_folders_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("mine")
    with (
        pytest.raises(ArtefactError, match="already exists: remove it or choose another"),
        atomic_folder(tmp_path / "out"),
    ):
        raise AssertionError("the body must not run")
    assert (tmp_path / "out" / "x").read_text() == "mine"
    assert names(tmp_path) == ["out"]


def test_leftovers_of_a_longer_name_are_kept(tmp_path: Path) -> None:
    for name in (".a.0123abcd.part", ".a.b.0123abcd.part", ".a.0123abcd.part.txt", "a"):
        (tmp_path / name).mkdir()
    remove_leftovers(tmp_path / "a")
    assert names(tmp_path) == [".a.0123abcd.part.txt", ".a.b.0123abcd.part", "a"]
    remove_leftovers(tmp_path / "nowhere" / "a")


FULL_DISK = """
import resource, shutil, signal, sys
from pathlib import Path
import torch
from baicai.artefact import atomic_folder, write_atomic, write_json, write_tensors
from baicai.errors import MachineError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
folder = Path(sys.argv[1])

def bytes_into_a_folder():
    with atomic_folder(folder / "out") as part:
        (part / "small").write_bytes(b"1")
        (part / "large").write_bytes(bytes(10_000))

def tensors_into_a_folder():
    with atomic_folder(folder / "out") as part:
        write_tensors(part / "t.safetensors", {"t": torch.zeros(5_000)})

def one_file():
    write_atomic(folder / "kept", bytes(10_000))

def json():
    write_json(folder / "kept", {"a": "x" * 10_000})

for act in (bytes_into_a_folder, tensors_into_a_folder, one_file, json):
    try:
        act()
    except MachineError as error:
        print(act.__name__, str(error).count(chr(10)), "no space left" in str(error))
    print(sorted(entry.name for entry in folder.iterdir()), (folder / "kept").read_text())
"""


def test_a_full_disk_is_a_one_line_error_and_keeps_existing_files(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("before")
    done = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True, check=True)
    acts = ("bytes_into_a_folder", "tensors_into_a_folder", "one_file", "json")
    assert done.stdout.splitlines() == [line for act in acts for line in (f"{act} 0 True", "['kept'] before")]


def write_a_folder(folder: Path) -> None:
    with atomic_folder(folder / "out") as part:
        (part / "x").write_bytes(b"1")
        write_tensors(part / "t.safetensors", TENSORS)


def write_a_file(folder: Path) -> None:
    write_atomic(folder / "kept", b"after")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize(
    ("write", "function"),
    [
        (write_a_folder, (Path, "write_bytes")),
        (write_a_folder, (Path, "mkdir")),
        (write_a_folder, (os, "fsync")),
        (write_a_folder, (Path, "rename")),
        (write_a_folder, (safetensors.torch, "save_file")),
        (write_a_file, (Path, "write_bytes")),
        (write_a_file, (os, "fsync")),
        (write_a_file, (Path, "replace")),
    ],
)
def test_a_disk_may_fill_up_at_any_moment(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path], None],
    function: tuple[object, str],
    code: int,
) -> None:
    (tmp_path / "kept").write_text("before")

    def full(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(*function, full)
    with pytest.raises(MachineError, match=r"no space left while writing .*: free some and run the same command again"):
        write(tmp_path)
    monkeypatch.undo()
    assert names(tmp_path) == ["kept"]
    assert (tmp_path / "kept").read_text() == "before"


@pytest.mark.parametrize("out", ["file/out", "file/deep/out", f"{'x' * 250}"])
def test_an_invalid_path_is_a_one_line_error(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"cannot write .*; choose another --out"), atomic_folder(tmp_path / out):
        raise AssertionError("the body must not run")
    assert names(tmp_path) == ["file"]


def test_other_errors_are_passed_on(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output"), atomic_folder(tmp_path / "out"):
        raise OSError(errno.EIO, "Input/output error")


def test_tensors_hash_has_a_known_value() -> None:
    digest = tensors_hash(TENSORS)
    content = b'["a","torch.float32",[2,3]]' + struct.pack("<6f", *range(6))
    content += b'["b","torch.float32",[]]' + struct.pack("<f", 1.5)
    assert digest == hashlib.sha256(content).hexdigest()
    assert tensors_hash(dict(reversed(TENSORS.items()))) == digest
    assert tensors_hash({name: tensor.clone() for name, tensor in TENSORS.items()}) == digest
    wide = torch.zeros(2, 6)
    wide[:, ::2] = TENSORS["a"]
    assert tensors_hash({"a": wide[:, ::2], "b": TENSORS["b"]}) == digest, "strides are no content"


def one_bit(tensor: torch.Tensor) -> torch.Tensor:
    flipped = tensor.clone()
    flipped.view(torch.int32)[1, 2] ^= 1
    return flipped


@pytest.mark.parametrize(
    "other",
    [
        {"A": TENSORS["a"], "b": TENSORS["b"]},
        {"a": TENSORS["a"].view(torch.int32), "b": TENSORS["b"]},
        {"a": TENSORS["a"].view(3, 2), "b": TENSORS["b"]},
        {"a": TENSORS["a"], "b": TENSORS["b"].view(1)},
        {"a": one_bit(TENSORS["a"]), "b": TENSORS["b"]},
        {"a": TENSORS["a"]},
        {"a": TENSORS["a"], "b": TENSORS["b"], "c": torch.zeros(0)},
    ],
    ids=["name", "dtype", "shape", "rank", "bit", "fewer", "empty"],
)
def test_tensors_hash_covers_every_difference(other: dict[str, torch.Tensor]) -> None:
    assert tensors_hash(other) != tensors_hash(TENSORS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_tensors_round_trip_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"x": torch.arange(12).reshape(3, 4).T.to(dtype), "scalar": torch.tensor(1).to(dtype)}
    write_tensors(tmp_path / "t.safetensors", tensors)
    back = read_tensors(tmp_path / "t.safetensors")
    assert all(torch.equal(back[name], tensor) and back[name].dtype == dtype for name, tensor in tensors.items())
    assert tensors_hash(back) == tensors_hash(tensors)


def test_weights_have_permissions_of_the_umask(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as part:
        write_tensors(part / "x.safetensors", {"x": torch.zeros(1)})
        (part / "text").write_text("")
    modes = [(tmp_path / "out" / name).stat().st_mode for name in ("x.safetensors", "text")]
    assert modes[0] == modes[1]


def test_value_hash_ignores_the_order_of_keys() -> None:
    assert value_hash({"a": 1, "b": [2]}) == value_hash({"b": [2], "a": 1})
    assert value_hash({"a": 1}) != value_hash({"a": 1.5})


@pytest.mark.parametrize("damage", ["missing", "empty", "half", "header", "text", "folder"])
def test_damaged_tensors_are_a_one_line_error(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "t.safetensors"
    write_tensors(file, {"x": torch.ones(100)})
    content = file.read_bytes()
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage != "missing":
        cut = {"empty": b"", "half": content[:-7], "header": content[:20], "text": b"these are no tensors" * 20}
        file.write_bytes(cut[damage])
    with pytest.raises(ArtefactError, match="is missing" if damage == "missing" else "is damaged") as caught:
        read_tensors(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing"),
        (b"", "cannot be read"),
        (b'{"a": 1', "cannot be read"),
        (b"\xff", "cannot be read"),
        (b'{"a": NaN}', "NaN is not valid JSON"),
        (b'{"a": [-Infinity]}', "-Infinity is not valid JSON"),
        (b"[" * 100_000, "cannot be read"),
        (b"[1]", "does not hold a JSON object"),
        (b'{"a": 1e999}', "cannot be read"),
        (b'{"a": "\\ud800"}', "cannot be read"),
    ],
)
def test_invalid_json_is_a_one_line_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "x.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ArtefactError, match=message):
        read_json(file)


def test_json_round_trips(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, "白菜"], "b": {"c": True}}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": float("inf")})
    assert read_json(tmp_path / "x.json") == value


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BAICAI_HOME", str(tmp_path / "home"))
    for digest, name in (("ab" * 32, "one"), ("ab" * 4 + "cd" * 28, "two"), ("12" * 32, "three")):
        (tmp_path / name).mkdir()
        register_artefact(digest, tmp_path / name)
    return tmp_path


def test_find_artefact_accepts_a_path_or_a_hash(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(index)
    assert find_artefact("one") == Path("one")
    assert find_artefact(index / "one") == index / "one"
    assert find_artefact("12" * 32) == index / "three"
    assert find_artefact("12" * 4) == index / "three"
    assert find_artefact("ab" * 4 + "cd") == index / "two"
    Path("12121212").mkdir()
    assert find_artefact("12121212") == Path("12121212"), "a path that exists is a path"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("abababab", "hash abababab matches 2 artefacts: give more digits"),
        ("1212121", "1212121 does not exist: give the path or the hash"),
        ("99999999", "no artefact with hash 99999999 is known on this machine: give its path"),
        ("ABABABAB", "does not exist"),
        ("nowhere/at/all", "does not exist"),
        ("abababab/../x", "does not exist"),
        ("*" * 8, "does not exist"),
        ("x" * 5000, "cannot be read"),
    ],
)
def test_find_artefact_explains_errors(index: Path, reference: str, message: str) -> None:
    with pytest.raises(ArtefactError, match=message.replace("*", r"\*")):
        find_artefact(reference)


def test_moved_artefacts_are_ignored(index: Path) -> None:
    (index / "two").rename(index / "elsewhere")
    assert find_artefact("abababab") == index / "one"
    with pytest.raises(ArtefactError, match="no artefact with hash"):
        find_artefact("ab" * 4 + "cd")
    register_artefact("ab" * 4 + "cd" * 28, index / "elsewhere")
    assert find_artefact("ab" * 4 + "cd") == index / "elsewhere"


def test_registered_paths_do_not_depend_on_the_working_directory(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(index)
    register_artefact("77" * 32, Path("one"))
    monkeypatch.chdir("/")
    assert find_artefact("77" * 8) == index / "one"
