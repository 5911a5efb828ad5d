"""What the atomic writer may write over, and with which permissions."""

import os
import stat
from pathlib import Path

import pytest

from ostinato.files.atomic import atomic_writer

OLD, NEW = b"the old content", b"the new content, which is longer"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(path: Path, data: bytes = NEW) -> None:
    with atomic_writer(path) as file:
        file.write(data)


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write(tmp_path / "weights.bin")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "weights.bin").stat().st_mode) == 0o640


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755])
def test_an_existing_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(OLD)
    path.chmod(mode)
    with atomic_writer(path):
        temporary = tmp_path / names(tmp_path)[0]
        assert stat.S_IMODE(temporary.stat().st_mode) == mode
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_link_stays_and_the_file_behind_it_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    link = tmp_path / "weights.bin"
    link.symlink_to(Path("elsewhere") / "real.bin")
    for data in (OLD, NEW):  # dangling, then not
        write(link, data)
        assert link.is_symlink()
        assert (folder / "real.bin").read_bytes() == data
    assert names(folder) == ["real.bin"]


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="expected a file, got a directory"):
        write(tmp_path)
    assert names(tmp_path) == []


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"does not exist; create it first: '.*weights\.bin'"):
        write(tmp_path / "missing" / "weights.bin")
    assert names(tmp_path) == []


def test_a_pipe_is_refused_and_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="expected a regular file"):
        write(tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert names(tmp_path) == ["pipe"]


def test_a_write_protected_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(OLD)
    # For root no file is write-protected, and tests may run as root.
    monkeypatch.setattr(os, "access", lambda asked, mode: not (Path(asked) == path and mode == os.W_OK))
    with pytest.raises(PermissionError, match="write-protected"):
        write(path)
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["weights.bin"]
