"""Small files that would take much memory or time, and messages that quote what files hold."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import numpy as np
import pytest

from mamp.errors import MAMPError, MissingFileError, ReadError
from mamp.readers import load


def test_a_small_gzip_file_takes_little_memory(tmp_path: Path):
    path = tmp_path / "bomb.csv.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(300):
            file.write(b"," * (1 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(ReadError, match="bytes unpack to more than 134,217,728"):
        load(path)


def test_a_small_npz_file_takes_little_memory(tmp_path: Path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, positions=np.zeros((600_000, 25, 3), np.float32))
    with pytest.raises(ReadError, match="bytes unpack to more than 134,217,728"):
        load(path)


@pytest.mark.parametrize("line", ["," * 10_000_000, "," * 999 + "\n", "1," * 999 + "1\n"])
def test_ten_megabytes_of_commas(tmp_path: Path, line: str):
    path = tmp_path / "commas.csv"
    path.write_text(line * (10_000_000 // len(line)))
    start = time.process_time()
    with pytest.raises(MAMPError):
        load(path)
    assert time.process_time() - start < 10


def test_messages_are_short_and_printable(tmp_path: Path):
    path = tmp_path / "escape.bvh"
    path.write_text("HIERARCHY\nROOT \x1b[31m" + "x" * 5000 + "\n{\n\x07}\nMOTION\n")
    with pytest.raises(ReadError) as caught:
        load(path)
    assert all(one.isprintable() or one == "\n" for one in str(caught.value)) and len(str(caught.value)) <= 2000
    assert str(ReadError("\x1b[31mred")) == "\\x1b[31mred"
    assert str(ReadError("y" * 5000)).endswith("y ...") and len(str(ReadError("y" * 5000))) == 2000
    assert str(MissingFileError("no such file: a")) == "no such file: a"
