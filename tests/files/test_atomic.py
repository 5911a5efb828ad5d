"""The atomic writer: old or new, whatever fails; nothing left over."""

import contextlib
import errno
import fcntl
import io
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ostinato.files import atomic
from ostinato.files.atomic import atomic_writer

OLD, NEW = b"the old content", b"the new content, which is longer"
LEFTOVER = ".weights.bin.0123456789abcdef.ostinato-tmp"


@pytest.fixture(params=[OLD, None], ids=["over a file", "no file"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "weights.bin"
    if request.param is not None:
        path.write_bytes(request.param)
    return path


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(path: Path, data: bytes = NEW) -> None:
    with atomic_writer(path) as file:
        file.write(data)


@contextlib.contextmanager
def nothing_changes(path: Path) -> Iterator[None]:
    """Check that the block changes nothing in the file's directory, and leaves no descriptor open."""
    before = content(path), names(path.parent), os.listdir("/dev/fd")
    yield
    assert (content(path), names(path.parent), os.listdir("/dev/fd")) == before


def test_the_content_appears_whole_when_the_block_ends(target: Path) -> None:
    before = content(target)
    with atomic_writer(target) as file:
        file.write(NEW[:5])
        file.flush()
        assert content(target) == before
        file.write(NEW[5:])
        assert content(target) == before
    assert content(target) == NEW
    assert names(target.parent) == ["weights.bin"]


def test_a_shorter_content_leaves_nothing_of_a_longer_one(target: Path) -> None:
    write(target, b"x" * 100_000)
    write(target, b"")
    assert content(target) == b""


def test_no_descriptor_stays_open(target: Path) -> None:
    before = os.listdir("/dev/fd")
    write(target)
    assert os.listdir("/dev/fd") == before


def test_the_file_can_be_sought_read_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    with atomic_writer(path) as file:
        np.savez(file, a=np.arange(5))  # zip goes back to write sizes
        file.seek(0)
        assert file.read(2) == b"PK"
        file.close()
    with np.load(path) as arrays:
        np.testing.assert_array_equal(arrays["a"], np.arange(5))


def test_a_path_may_be_a_string_and_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with atomic_writer("weights.bin") as file:
        file.write(NEW)
    assert content(tmp_path / "weights.bin") == NEW


@pytest.mark.parametrize("name", ["x" * 255, "\N{MUSICAL SYMBOL G CLEF}" * 63, "a [b](c)+.*", "-", ".hidden"])
def test_any_name_works_and_is_cleaned_up_after(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with atomic_writer(path) as file:
        file.write(NEW)
        (temporary,) = names(tmp_path)
    (tmp_path / temporary).write_bytes(b"as a killed process leaves it")
    write(path)
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_in_the_block_changes_nothing(target: Path, error: type[BaseException]) -> None:
    with nothing_changes(target), pytest.raises(error), atomic_writer(target) as file:
        file.write(NEW)
        file.flush()
        raise error


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("step", ["dup", "fsync", "replace"])
def test_a_step_that_fails_changes_nothing(target: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int) -> None:
    def fail(*args: object) -> None:
        raise OSError(code, os.strerror(code))

    with nothing_changes(target), monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(OSError, match=os.strerror(code)):
            write(target)
    write(target)
    assert content(target) == NEW


class SmallDisk(io.FileIO):
    """A file on a disk with room for 10 bytes: a short write first, then ENOSPC."""

    def write(self, data: object) -> int:
        room = 10 - self.tell()
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(memoryview(data)[:room])  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [11, 1_000_000], ids=["noticed at the end", "noticed in the block"])
def test_a_full_disk_changes_nothing(target: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    with nothing_changes(target), monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", lambda number, mode: io.BufferedRandom(SmallDisk(number, "r+")))
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            write(target, b"x" * size)


def failing_directory_fsync(code: int) -> Callable[[int], None]:
    fsync = os.fsync

    def call(number: int) -> None:
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(code, os.strerror(code))
        fsync(number)

    return call


def test_a_directory_that_cannot_be_forced_is_reported(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing_directory_fsync(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write(target)
    assert content(target) == NEW
    assert names(target.parent) == ["weights.bin"]


def test_a_file_system_without_directory_fsync_will_do(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing_directory_fsync(errno.EINVAL))
    write(target)
    assert content(target) == NEW


def test_the_content_is_forced_before_the_rename_and_the_directory_after(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(number: int) -> None:
        status = os.fstat(number)
        steps.append("directory" if stat.S_ISDIR(status.st_mode) else f"{status.st_size} bytes")
        fsync(number)

    def record_replace(source: str, destination: str) -> None:
        steps.append("rename")
        replace(source, destination)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    write(target)
    assert steps == [f"{len(NEW)} bytes", "rename", "directory"]


# Runs isolated and without site-packages: the writer needs the standard library only. Each operation on the
# disk is two points, before and after; the process ends at the point whose number it is given.
KILLED = 77
CHILD = f"""
import importlib.util, io, os, sys
spec = importlib.util.spec_from_file_location("atomic", sys.argv[1])
atomic = importlib.util.module_from_spec(spec)
spec.loader.exec_module(atomic)
points = 0

def point():
    global points
    points += 1
    if points == int(sys.argv[3]):
        os._exit({KILLED})

def stopping(operation):
    def call(*args):
        point()
        result = operation(*args)
        point()
        return result
    return call

class StoppingFile(io.FileIO):
    def write(self, data):
        point()
        written = super().write(data[: max(1, len(data) // 2)])
        point()
        return written

for name in ("open", "dup", "chmod", "fsync", "replace", "unlink", "close"):
    setattr(os, name, stopping(getattr(os, name)))
os.fdopen = lambda number, mode: io.BufferedRandom(StoppingFile(number, "r+"))
with atomic.atomic_writer(sys.argv[2]) as file:
    file.write({NEW!r})
"""


def run_child(target: Path, stop: int) -> int:
    arguments = [sys.executable, "-I", "-S", "-c", CHILD, atomic.__file__, str(target), str(stop)]
    return subprocess.run(arguments, check=False).returncode


def test_a_kill_at_any_point_leaves_old_or_new_and_the_next_write_cleans_up(target: Path) -> None:
    old = content(target)
    seen, left = [], 0
    for stop in range(1, 100):
        code = run_child(target, stop)
        seen.append(content(target))
        if code == 0:
            break
        assert code == KILLED
        assert seen[-1] in (old, NEW)
        left += names(target.parent) != ["weights.bin"] * target.exists()
        write(target, b"the next write")
        assert names(target.parent) == ["weights.bin"]
        if old is None:
            target.unlink()
        else:
            target.write_bytes(old)
    assert code == 0
    assert len(seen) > 20
    # The kills fell on both sides of the rename, and most of those before it left a file to clean up.
    renamed = seen.index(NEW)
    assert seen == [old] * renamed + [NEW] * (len(seen) - renamed)
    assert 1 < renamed < len(seen) - 2
    assert left > renamed // 2


def test_the_next_process_cleans_up_too(target: Path) -> None:
    assert run_child(target, 8) == KILLED
    assert len(names(target.parent)) == 1 + target.exists()
    assert run_child(target, 0) == 0
    assert names(target.parent) == ["weights.bin"]


def test_writers_of_one_path_leave_each_other_alone(target: Path) -> None:
    with atomic_writer(target) as first:
        first.write(b"first")
        first.flush()
        write(target, b"second")
        assert content(target) == b"second"
        first.write(b", but last")
    assert content(target) == b"first, but last"
    assert names(target.parent) == ["weights.bin"]


def test_many_writers_at_once_all_succeed(target: Path) -> None:
    contents = [bytes([65 + number]) * 50_000 for number in range(8)]

    def work(data: bytes) -> None:
        for _ in range(10):
            write(target, data)
            assert target.read_bytes() in contents

    with ThreadPoolExecutor(len(contents)) as pool:
        assert len(list(pool.map(work, contents))) == len(contents)  # raises what a thread raised
    assert content(target) in contents
    assert names(target.parent) == ["weights.bin"]


def test_only_our_own_leftovers_of_this_file_are_removed(target: Path) -> None:
    kept = [
        LEFTOVER.replace("weights", "other"),
        LEFTOVER[1:],
        LEFTOVER + ".bak",
        ".weights.bin.swp",
        ".weights.bin.0123.ostinato-tmp",
        "weights.bin.tmp",
    ]
    for name in [*kept, LEFTOVER]:
        (target.parent / name).write_bytes(b"")
    directory = LEFTOVER.replace("0", "d")
    (target.parent / directory).mkdir()
    write(target)
    assert names(target.parent) == sorted([*kept, directory, "weights.bin"])


@pytest.mark.parametrize("verdict", ["taken", "removed"])
def test_a_file_cleaned_away_before_it_is_locked_is_created_again(
    target: Path, monkeypatch: pytest.MonkeyPatch, verdict: str
) -> None:
    lock, calls = atomic._lock, []

    def overtaken(number: int) -> atomic._Lock:
        calls.append(number)
        if len(calls) > 1:
            return lock(number)
        (temporary,) = target.parent.glob(".weights.bin.*.ostinato-tmp")
        temporary.unlink()
        return atomic._Lock.TAKEN if verdict == "taken" else lock(number)

    monkeypatch.setattr(atomic, "_lock", overtaken)
    write(target)
    assert len(calls) == 2
    assert content(target) == NEW
    assert names(target.parent) == ["weights.bin"]


def test_without_locks_leftovers_go_after_a_day(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_lock", lambda number: atomic._Lock.UNKNOWN)
    young, old = LEFTOVER, LEFTOVER.replace("0", "f")
    for name, hours in ((young, 23), (old, 25)):
        (target.parent / name).write_bytes(b"")
        os.utime(target.parent / name, times=(0, time.time() - hours * 3600))
    write(target)
    assert names(target.parent) == sorted([young, "weights.bin"])


def test_a_lock_that_the_file_system_refuses_counts_as_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert atomic._lock(0) is atomic._Lock.UNKNOWN


def test_a_leftover_that_may_not_be_removed_stays(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (target.parent / LEFTOVER).write_bytes(b"")

    def refuse(path: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "unlink", refuse)
    write(target)
    assert content(target) == NEW
    assert names(target.parent) == [LEFTOVER, "weights.bin"]
