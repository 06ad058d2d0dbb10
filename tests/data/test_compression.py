import bz2
import gzip
import io
import lzma
import random
from pathlib import Path

import pytest
import zstandard

from baicai.data.compression import is_compressed, open_decompressed
from baicai.errors import DataError

CONTENT = "".join(f"{random.Random(n).random()} 菜\n" for n in range(20_000)).encode()
ZSTD = zstandard.ZstdCompressor(write_checksum=True)
PACKED = {
    "a.txt": CONTENT,
    "a.gz": gzip.compress(CONTENT),
    "two.GZ": gzip.compress(CONTENT[:999]) + gzip.compress(CONTENT[999:]),
    "a.bz2": bz2.compress(CONTENT),
    "two.bz2": bz2.compress(CONTENT[:999]) + bz2.compress(CONTENT[999:]),
    "a.xz": lzma.compress(CONTENT, preset=9),
    "a.zst": ZSTD.compress(CONTENT),
    "two.zst": ZSTD.compress(CONTENT[:999]) + ZSTD.compress(b"") + ZSTD.compress(CONTENT[999:]),
}


@pytest.mark.parametrize("name", PACKED)
def test_a_stream_is_the_decompressed_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(PACKED[name])
    assert is_compressed(path) == (name != "a.txt")
    with open_decompressed(path) as stream:
        assert stream.readline() + stream.read(7) + stream.read() == CONTENT
    with open_decompressed(path) as stream:
        assert list(iter(stream.readline, b"")) == list(io.BytesIO(CONTENT))


@pytest.mark.parametrize("name", ["a.gz", "two.GZ", "a.bz2", "two.bz2", "a.xz", "a.zst", "two.zst"])
def test_a_damaged_compressed_file_is_a_clear_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    packed = PACKED[name]
    for broken in (packed[:-5], packed[: len(packed) // 2], packed[:500] + b"x" * 99 + packed[599:], b"no archive"):
        path.write_bytes(broken)
        with pytest.raises(DataError, match="cannot be decompressed") as error, open_decompressed(path) as stream:
            stream.read()
        assert f"{path} cannot be decompressed (" in str(error.value)
        assert "copy or compress it again" in str(error.value)


def test_a_file_that_cannot_be_opened_is_a_clear_error(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"a\.txt cannot be read \(No such file or directory\)"),
        open_decompressed(tmp_path / "a.txt"),
    ):
        pass
