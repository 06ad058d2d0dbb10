"""Tests of intact, damaged and hostile archives, which try to fill memory or disks or to overwrite files."""

import bz2
import gzip
import io
import lzma
import random
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard

from baicai.wholesale.sources.archives import Member, read_members

TEXTS = {f"folder/{number}.txt": f"Text {number}: {random.Random(number).random()}.".encode() for number in range(20)}
TAR_COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes,
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".tar.zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 5, 6, 7, 8, 10)), content, compression)
    return out.getvalue()


def tarred(members: dict[str, bytes], **fields: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1_700_000_000
            for field, value in fields.items():
                setattr(member, field, value)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def read(folder: Path, name: str, content: bytes) -> tuple[dict[str, bytes], list[str]]:
    """Read an archive. Returns the content of its members, and the reasons for skipped ones."""
    (folder / name).write_bytes(content)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    members, skips = {}, []
    for result in read_members(folder / name, scratch):
        if isinstance(result, Member):
            members[result.name] = result.path.read_bytes()
        else:
            skips.append(result)
    assert len(list(folder.iterdir())) == 2, "nothing is written elsewhere"
    return members, skips


@pytest.mark.parametrize("ending", TAR_COMPRESSORS)
def test_members_of_a_tar_archive_are_read(tmp_path: Path, ending: str) -> None:
    assert read(tmp_path, f"a{ending}", TAR_COMPRESSORS[ending](tarred(TEXTS))) == (TEXTS, [])


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_members_of_a_zip_archive_are_read(tmp_path: Path, compression: int) -> None:
    assert read(tmp_path, "a.zip", zipped(TEXTS, compression)) == (TEXTS, [])


def test_members_have_modification_times(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"a.txt": b"x"}))
    (tmp_path / "a.tar").write_bytes(tarred({"a.txt": b"x"}))
    dates = [
        member.modified
        for name in ("a.zip", "a.tar")
        for member in read_members(tmp_path / name, tmp_path)
        if isinstance(member, Member)
    ]
    assert dates == [datetime(2024, 5, 6, 7, 8, 10, tzinfo=UTC), datetime.fromtimestamp(1_700_000_000, UTC)]


NAMES = {
    "./a.txt": "a.txt",
    "a/b/c.html": "a/b/c.html",
    "ü €.txt": "ü €.txt",
    "a/.hidden": None,
    ".git/a.txt": None,
    "/etc/passwd": "path outside the archive",
    "../a.txt": "path outside the archive",
    "a/../../b.txt": "path outside the archive",
    "..\\a.txt": "path outside the archive",
    "C:/a.txt": "path outside the archive",
    "a.zip": "nested archive",
    "a/b.tar.gz": "nested archive",
    "a.png": "media type image/png",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
def test_unsafe_and_unsupported_names_are_skipped(tmp_path: Path, name: str, kind: str) -> None:
    members, skips = read(tmp_path, kind, (zipped if kind == "a.zip" else tarred)({name: b"x", "last.txt": b"y"}))
    expected = NAMES[name]
    assert members.pop("last.txt") == b"y"
    assert ([*members, *skips]) == [expected] * bool(expected)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "link"), (tarfile.CHRTYPE, "not a file"),
        (tarfile.BLKTYPE, "not a file"), (tarfile.FIFOTYPE, "not a file"), (tarfile.DIRTYPE, None),
    ],
)  # fmt: skip
def test_special_files_in_a_tar_archive_are_skipped(tmp_path: Path, kind: bytes, reason: str | None) -> None:
    content = tarred({"a.txt": b""}, type=kind, linkname="/etc/passwd")
    assert read(tmp_path, "a.tar", content) == ({}, [reason] * bool(reason))


@pytest.mark.parametrize(
    ("mode", "reason"), [(stat.S_IFLNK, "link"), (stat.S_IFCHR, "not a file"), (stat.S_IFREG | 0o644, None)]
)
def test_special_files_in_a_zip_archive_are_skipped(tmp_path: Path, mode: int, reason: str | None) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("a.txt")
        info.create_system, info.external_attr = 3, mode << 16
        archive.writestr(info, "/etc/passwd")
    assert read(tmp_path, "a.zip", out.getvalue())[1] == [reason] * bool(reason)


@pytest.mark.parametrize("ending", TAR_COMPRESSORS)
def test_truncated_tar_archive_gives_its_complete_members(tmp_path: Path, ending: str) -> None:
    texts = {f"{number}.txt": random.Random(number).randbytes(4_000).hex().encode() for number in range(100)}
    content = TAR_COMPRESSORS[ending](tarred(texts))
    for cut in (len(content) // 2, len(content) * 4 // 5):
        members, skips = read(tmp_path, f"a{ending}", content[:cut])
        assert skips in (["cut off"], ["damaged archive"])
        assert len(members) < 100
        assert len(members) > 30 or ending in (".tar.bz2", ".tar.zst"), "their blocks are large"
        assert members == {name: texts[name] for name in members}, "members before the cut are complete"


@pytest.mark.parametrize("cut", [512, 1024, 1535, 1536])
def test_tar_archive_without_its_end_is_cut_off(tmp_path: Path, cut: int) -> None:
    assert read(tmp_path, "a.tar", tarred({"a.txt": b"x", "b.txt": b"y"})[:cut])[1] == ["cut off"]


def test_wrong_checksum_of_an_archive_is_reported(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(tarred(TEXTS)))
    content[-6] ^= 1
    assert read(tmp_path, "a.tgz", bytes(content)) == (TEXTS, ["damaged archive"])


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive" * 1000, b"\0" * 10_000, b"\x1f\x8b\x08"])
@pytest.mark.parametrize("ending", [".zip", *TAR_COMPRESSORS])
def test_other_files_are_damaged_archives(tmp_path: Path, content: bytes, ending: str) -> None:
    members, skips = read(tmp_path, f"a{ending}", content)
    assert not members
    assert skips == ([] if ending == ".tar" and content[:1] == b"\0" else ["damaged archive"])


class TestZip:
    def test_only_the_damaged_member_is_lost(self, tmp_path: Path) -> None:
        content = zipped(TEXTS, zipfile.ZIP_STORED)
        offset = content.index(b"Text 7")
        members, skips = read(tmp_path, "a.zip", content[:offset] + b"t" + content[offset + 1 :])
        assert (skips, TEXTS.keys() - members.keys()) == (["damaged member"], {"folder/7.txt"})

    def test_truncated_archive_is_damaged(self, tmp_path: Path) -> None:
        assert read(tmp_path, "a.zip", zipped(TEXTS)[:-30]) == ({}, ["damaged archive"])

    def test_encrypted_member_is_skipped(self, tmp_path: Path) -> None:
        content = bytearray(zipped({"a.txt": b"secret", "b.txt": b"x"}))
        for offset in (6, content.index(b"PK\1\2") + 8):
            content[offset] |= 1
        assert read(tmp_path, "a.zip", bytes(content)) == ({"b.txt": b"x"}, ["encrypted"])

    def test_unsupported_compression_is_skipped(self, tmp_path: Path) -> None:
        assert read(tmp_path, "a.zip", zipped({"a.txt": b"x"}, zipfile.ZIP_LZMA))[1] == ["unknown compression"]

    @pytest.mark.parametrize("size", [0, 5, 999, 1001, 2**20, 2**31])
    def test_member_with_a_wrong_size_is_skipped(self, tmp_path: Path, size: int) -> None:
        content = bytearray(zipped({"a.txt": b"x" * 1000}))
        offset = content.index(b"PK\1\2") + 24
        content[offset : offset + 4] = struct.pack("<I", size)
        members, skips = read(tmp_path, "a.zip", bytes(content))
        assert not members
        assert skips == ["too large" if size > 2**26 else "damaged member"]

    def test_too_large_member_is_skipped(self, tmp_path: Path) -> None:
        content = zipped({"a.txt": b"x" * (64 * 2**20 + 1), "b.txt": b"x"})
        assert read(tmp_path, "a.zip", content) == ({"b.txt": b"x"}, ["too large"])

    def test_total_decompressed_size_is_limited(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("baicai.wholesale.sources.decompression_limits.FREE_BYTES", 2**20)
        content = zipped({f"{number}.txt": b"x" * 2**20 for number in range(20)})
        members, skips = read(tmp_path, "a.zip", content)
        assert skips == ["unpacks to far too much"]
        assert 1 <= len(members) < 20

    def test_overlapping_members_are_skipped(self, tmp_path: Path) -> None:
        """Every directory entry of David Fifield's zip bomb refers to the same bytes."""
        content = zipped({"a.txt": b"x" * 100_000})
        start, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
        entry, count = content[start:end], 1000
        end_record = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(entry) * count, start, 0)
        members, skips = read(tmp_path, "a.zip", content[:start] + entry * count + end_record)
        assert (members, skips) == ({}, ["overlapping members"] * count)

    def test_member_inside_another_member_is_skipped(self, tmp_path: Path) -> None:
        inner = zipped({"b.txt": b"y" * 1000}, zipfile.ZIP_STORED)
        outer = zipped({"a.txt": inner[: inner.index(b"PK\1\2")]}, zipfile.ZIP_STORED)
        start, end = outer.index(b"PK\1\2"), outer.index(b"PK\5\6")
        entries = [bytearray(outer[start:end]), bytearray(inner[inner.index(b"PK\1\2") : inner.index(b"PK\5\6")])]
        struct.pack_into("<I", entries[1], 42, outer.index(inner[:30]))
        size = sum(map(len, entries))
        end_record = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, size, start, 0)
        members, skips = read(tmp_path, "a.zip", outer[:start] + b"".join(entries) + end_record)
        assert (list(members), skips) == (["b.txt"], ["overlapping members"])

    def test_member_without_a_name_is_ignored(self, tmp_path: Path) -> None:
        content = zipped({"\1.txt": b"x", "b.txt": b"y"}, zipfile.ZIP_STORED).replace(b"\1.txt", b"\0.txt")
        assert read(tmp_path, "a.zip", content) == ({"b.txt": b"y"}, [])

    def test_number_of_members_is_limited(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("baicai.wholesale.sources.archives.MAX_MEMBERS", 5)
        members, skips = read(tmp_path, "a.zip", zipped(TEXTS))
        assert (len(members), skips) == (5, ["too many members"])
        monkeypatch.setattr("baicai.wholesale.sources.archives.MAX_DIRECTORY_BYTES", 500)
        assert read(tmp_path, "a.zip", zipped(TEXTS)) == ({}, ["too many members"])


class TestTar:
    def test_too_large_member_is_skipped(self, tmp_path: Path) -> None:
        content = gzip.compress(tarred({"a.txt": b"x" * (64 * 2**20 + 1), "b.txt": b"x"}), 1)
        assert read(tmp_path, "a.tgz", content) == ({"b.txt": b"x"}, ["too large"])

    @pytest.mark.parametrize("ending", [ending for ending in TAR_COMPRESSORS if ending != ".tar"])
    def test_bomb_is_stopped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
        monkeypatch.setattr("baicai.wholesale.sources.decompression_limits.FREE_BYTES", 2**20)
        content = TAR_COMPRESSORS[ending](tarred({"a.txt": b"x", "b.txt": b"\0" * 2**25}))
        tracemalloc.start()
        members, skips = read(tmp_path, f"a{ending}", content)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (members, skips) == ({"a.txt": b"x"}, ["unpacks to far too much"])
        assert peak < 100 * 2**20

    def test_number_of_members_is_limited(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("baicai.wholesale.sources.archives.MAX_MEMBERS", 5)
        members, skips = read(tmp_path, "a.tar", tarred(TEXTS))
        assert (len(members), skips) == (5, ["too many members"])

    @pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
    def test_huge_headers_do_not_fill_memory(self, tmp_path: Path, kind: bytes) -> None:
        content = gzip.compress(tarred({"a": b"x" * 2**27}, type=kind), 1)
        tracemalloc.start()
        members, skips = read(tmp_path, "a.tgz", content)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (members, skips) == ({}, ["damaged archive"])
        assert peak < 2**25

    @pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
    def test_chained_headers_are_rejected(self, tmp_path: Path, kind: bytes) -> None:
        header = tarred({"a": b"" if kind != tarfile.GNUTYPE_LONGNAME else b"x"}, type=kind)[:1024]
        header = header if kind == tarfile.GNUTYPE_LONGNAME else header[:512]
        assert read(tmp_path, "a.tar", header * 100_000) == ({}, ["damaged archive"])

    @pytest.mark.parametrize(
        ("size", "skips"),
        [(-1, ["too large"]), (-512, ["too large", "damaged archive"]), (-513, ["too large", "damaged archive"])],
    )
    def test_negative_size_is_rejected(self, tmp_path: Path, size: int, skips: list[str]) -> None:
        member = tarfile.TarInfo("a.jsonl")
        member.size = size
        content = member.tobuf(tarfile.GNU_FORMAT) + tarred({"b.txt": b"y"})
        assert read(tmp_path, "a.tar", content) == ({"b.txt": b"y"} if size == -1 else {}, skips)

    @pytest.mark.parametrize("size", [1000, 2**33, 2**60])
    def test_size_beyond_the_end_is_rejected(self, tmp_path: Path, size: int) -> None:
        member = tarfile.TarInfo("a.jsonl")
        member.size = size
        skips = read(tmp_path, "a.tar", member.tobuf(tarfile.GNU_FORMAT) + b"x" * 512)[1]
        assert skips == (["cut off"] if size < 2**34 else ["too large", "damaged archive"])

    def test_sparse_file_is_not_read(self, tmp_path: Path) -> None:
        content = tarred({"a.txt": b""}, pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
        assert not read(tmp_path, "a.tar", content)[0].get("a.txt")


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tgz", ".tar.zst"])
def test_random_damage_raises_no_error(tmp_path: Path, ending: str) -> None:
    rng = random.Random(0)
    content = (
        zipped(TEXTS) if ending == ".zip" else TAR_COMPRESSORS[ending](tarred(TEXTS, pax_headers={"comment": "ü"}))
    )
    for _ in range(60):
        damaged = bytearray(content[: rng.randint(1, len(content))] if rng.random() < 0.2 else content)
        for _ in range(rng.randint(0, 20)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        members, _ = read(tmp_path, f"a{ending}", bytes(damaged))
        assert len(members) <= 20
