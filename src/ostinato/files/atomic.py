"""The one atomic writer: a reader of the path finds the old file or the new one, whole, nothing else."""

import contextlib
import enum
import errno
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from typing import BinaryIO, cast

if sys.platform != "win32":
    import fcntl

_SUFFIX = ".ostinato-tmp"
_NAME_CHARACTERS = 40  # of the target's name; names end at 255 bytes, and a character takes up to 4
_DAY = 24 * 60 * 60.0  # seconds


@contextlib.contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Give a binary file whose content becomes the file at `path` when the block ends, whole or not at all.

    The bytes go to a temporary file in the same directory, are forced to the disk, and are renamed over
    `path`; then the directory is forced to the disk. If the block or a step up to the rename raises,
    KeyboardInterrupt included, the temporary file is removed and what stood at `path` is untouched. A killed
    process leaves its temporary file; the next write to the same path removes it, and knows it from one that
    is being written by the lock its writer holds. Several may write one path at the same time: each writes
    its own temporary file, and the last rename stands.

    An existing file keeps its permission bits; a symbolic link is followed, so that the link stays.

    Args:
        path: the file to write; its directory exists.

    Returns:
        A context manager giving the open file: binary, seekable, readable too. Closing it early is allowed.

    Raises:
        FileNotFoundError: the directory does not exist.
        IsADirectoryError: `path` is a directory.
        PermissionError: the file is write-protected, or nothing may be created in the directory.
        OSError: `path` is a device, a pipe or a socket; or the disk refused a step (full, broken).

    Source:
        T. S. Pillai et al., "All File Systems Are Not Created Equal: On the Complexity of Crafting
        Crash-Consistent Applications", OSDI 2014: what must reach the disk before and after the rename.

    Example:
        >>> import pathlib, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = pathlib.Path(folder.name) / "weights.bin"
        >>> with atomic_writer(path) as file:
        ...     _ = file.write(b"new")
        ...     path.exists()
        False
        >>> path.read_bytes()
        b'new'
        >>> folder.cleanup()
    """
    target = _checked_target(path)
    _remove_abandoned(target)
    temporary, descriptor = _create_temporary(target)
    try:
        if os.path.exists(target):
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        # The caller gets a duplicate: whatever becomes of it, ours keeps the lock and can be forced to disk.
        with cast(BinaryIO, os.fdopen(os.dup(descriptor), "w+b")) as file:
            yield file
        os.fsync(descriptor)
        if sys.platform == "win32":  # where an open file can't be renamed
            os.close(descriptor)
            descriptor = -1
        os.replace(temporary, target)
    except BaseException:
        if sys.platform == "win32" and descriptor >= 0:  # nor removed
            os.close(descriptor)
            descriptor = -1
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    _force_directory(os.path.dirname(target))


def _checked_target(path: str | os.PathLike[str]) -> str:
    """Resolve links in `path`, and refuse what a rename must not replace."""
    given = os.fspath(path)
    target = os.path.realpath(given)
    if not os.path.isdir(os.path.dirname(target)):
        message = "atomic_writer: the directory does not exist; create it first"
        raise FileNotFoundError(errno.ENOENT, message, given)
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, "atomic_writer: expected a file, got a directory", given)
    if os.path.exists(target):
        if not os.path.isfile(target):
            message = "atomic_writer: expected a regular file, got a device, a pipe or a socket"
            raise OSError(errno.EINVAL, message, given)
        if not os.access(target, os.W_OK):  # a rename would not ask
            raise PermissionError(errno.EACCES, "atomic_writer: the file is write-protected", given)
    return target


def _create_temporary(target: str) -> tuple[str, int]:
    """Create and lock a temporary file beside `target`; gives its path and its descriptor."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    directory, name = os.path.split(target)
    while True:
        temporary = os.path.join(directory, f".{name[:_NAME_CHARACTERS]}.{secrets.token_hex(8)}{_SUFFIX}")
        descriptor = os.open(temporary, flags, 0o666)  # the umask takes its share, as for any file
        # Before the lock is there another process may find the file and take it for abandoned: then another.
        if _lock(descriptor) is not _Lock.TAKEN and os.path.exists(temporary):
            return temporary, descriptor
        os.close(descriptor)


def _remove_abandoned(target: str) -> None:
    """Remove the temporary files that killed processes left when they wrote `target`."""
    directory, name = os.path.split(target)
    pattern = re.compile(rf"\.{re.escape(name[:_NAME_CHARACTERS])}\.[0-9a-f]{{16}}{re.escape(_SUFFIX)}")
    with os.scandir(directory) as entries:
        found = [
            entry.path for entry in entries if pattern.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
        ]
    for temporary in found:
        # Not found: another process was faster. Not permitted: another user's, or in use on Windows.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            _remove_if_abandoned(temporary)


def _remove_if_abandoned(temporary: str) -> None:
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        lock = _lock(descriptor)
        if lock is _Lock.OURS:
            # Removed under the lock, so that a writer who has created it and not yet locked it takes notice.
            os.unlink(temporary)
            return
        age = time.time() - os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
    if lock is _Lock.UNKNOWN and age > _DAY:
        os.unlink(temporary)


class _Lock(enum.Enum):
    """What came of asking for the lock of a temporary file."""

    OURS = enum.auto()
    TAKEN = enum.auto()
    UNKNOWN = enum.auto()  # this system or file system has no locks


def _lock(descriptor: int) -> _Lock:
    """Ask for the exclusive lock, which the kernel takes back when its holder dies, however it dies.

    A process number in the file's name would say less: it means nothing in another container or on another
    machine, and numbers are used again.
    """
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _Lock.TAKEN
        except OSError:  # some network file systems
            return _Lock.UNKNOWN
        return _Lock.OURS
    else:
        return _Lock.UNKNOWN


def _force_directory(directory: str) -> None:
    """Force the rename itself to the disk."""
    if sys.platform != "win32":  # where directories can't be opened, and NTFS keeps a journal of renames
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # the file system has no such operation
                raise
        finally:
            os.close(descriptor)
