"""Files that appear whole or not at all."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from levels.files import check_writable, whole


def test_what_cannot_be_finished_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="no room"), whole(path) as file:
        file.write(b"half of ")
        raise OSError("no room")
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [b"old"]


def test_writers_of_one_file_do_not_meet(tmp_path: Path):
    path = tmp_path / "file"

    def write(letter: bytes) -> None:
        for _ in range(50):
            with whole(path) as file:
                file.write(100_000 * letter)

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(write, letter) for letter in (b"a", b"b", b"c")]:
            done.result()
    assert path.read_bytes() in [100_000 * letter for letter in (b"a", b"b", b"c")] and len(list(tmp_path.iterdir())) == 1


def test_where_no_file_can_be_is_said_before(tmp_path: Path):
    for path, error in ((tmp_path, IsADirectoryError), (tmp_path / "absent" / "x", FileNotFoundError)):
        with pytest.raises(error):
            check_writable(path)
    (tmp_path / "old").write_text("")
    check_writable(tmp_path / "old")
    check_writable(tmp_path / "new")
