"""The checked download: the right file or none, whatever the server and the network do."""

import contextlib
import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local_server import (
    Answer,
    LocalServer,
    chunked,
    closed_port,
    failed,
    paused,
    redirected,
    reset,
    serve,
    short,
    unannounced,
    whole,
)
from ostinato.errors import DownloadError
from ostinato.files.fetch import fetch

BODY = bytes(range(256)) * 4096  # 1 MiB: several reads
SHA256 = hashlib.sha256(BODY).hexdigest()
OLD = b"an older edition of the file"


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with serve() as local:
        local.answers["/data.bin"] = whole(BODY)
        yield local


@pytest.fixture(params=[OLD, None], ids=["over a file", "no file"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    if request.param is not None:
        path.write_bytes(request.param)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextlib.contextmanager
def refused(target: Path, match: str) -> Iterator[None]:
    """Check that the block raises DownloadError, changes no file and leaves none."""
    before = [(name, (target.parent / name).read_bytes()) for name in names(target.parent)]
    with pytest.raises(DownloadError, match=match):
        yield
    assert [(name, (target.parent / name).read_bytes()) for name in names(target.parent)] == before


def test_a_download_is_whole_and_right(server: LocalServer, target: Path) -> None:
    assert fetch(server.url("/data.bin"), target, SHA256) == target
    assert target.read_bytes() == BODY
    assert names(target.parent) == ["data.bin"]


@pytest.mark.parametrize(
    "answer",
    [unannounced(BODY), chunked([BODY[:1000], BODY[1000:]], finished=True)],
    ids=["until the end", "chunked"],
)
def test_a_body_of_unannounced_length_is_taken_if_its_digest_is_right(
    server: LocalServer, target: Path, answer: Answer
) -> None:
    server.answers["/data.bin"] = answer
    assert fetch(server.url("/data.bin"), target, SHA256).read_bytes() == BODY


def test_an_empty_file_can_be_fetched(server: LocalServer, target: Path) -> None:
    server.answers["/data.bin"] = whole(b"")
    assert fetch(server.url("/data.bin"), target, hashlib.sha256(b"").hexdigest()).read_bytes() == b""


def test_missing_directories_are_created_and_strings_taken(server: LocalServer, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "data.bin"
    assert fetch(server.url("/data.bin"), str(path), SHA256.upper()) == path
    assert path.read_bytes() == BODY


def test_a_file_that_is_there_and_right_needs_no_request(server: LocalServer, target: Path) -> None:
    for _ in range(3):
        fetch(server.url("/data.bin"), target, SHA256)
    assert server.requests == ["/data.bin"]


def test_a_file_that_is_there_and_right_needs_no_network(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(BODY)
    assert fetch(f"http://127.0.0.1:{closed_port()}/data.bin", path, SHA256) == path


@pytest.mark.parametrize("damage", ["cut", "bit", "longer"])
def test_a_damaged_file_is_fetched_again(server: LocalServer, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "data.bin"
    changed = BODY[:5] + bytes([BODY[5] ^ 1]) + BODY[6:]
    path.write_bytes({"cut": BODY[:-1], "bit": changed, "longer": BODY + b"\n"}[damage])
    assert fetch(server.url("/data.bin"), path, SHA256).read_bytes() == BODY
    assert server.requests == ["/data.bin"]


def test_a_wrong_digest_is_refused(server: LocalServer, target: Path) -> None:
    server.answers["/data.bin"] = whole(BODY[::-1])
    got = hashlib.sha256(BODY[::-1]).hexdigest()
    with refused(target, f"SHA-256 {got}; expected {SHA256}. Nothing was kept"):
        fetch(server.url("/data.bin"), target, SHA256)


def test_a_short_body_is_refused(server: LocalServer, target: Path) -> None:
    server.answers["/data.bin"] = short(BODY[:700_000], announced=len(BODY))
    with refused(target, "announced 1,048,576 bytes and sent 700,000"):
        fetch(server.url("/data.bin"), target, SHA256)


def test_a_short_body_is_refused_even_with_the_right_digest(server: LocalServer, target: Path) -> None:
    server.answers["/data.bin"] = short(BODY, announced=len(BODY) + 1)
    with refused(target, "announced 1,048,577 bytes and sent 1,048,576"):
        fetch(server.url("/data.bin"), target, SHA256)


def test_a_chunked_body_without_its_end_is_refused(server: LocalServer, target: Path) -> None:
    server.answers["/data.bin"] = chunked([BODY[:1000], BODY[1000:]], finished=False)
    with refused(target, "broke off after"):
        fetch(server.url("/data.bin"), target, SHA256)


def test_a_connection_reset_in_the_middle_is_refused(server: LocalServer, target: Path) -> None:
    files = len(names(target.parent))
    begun = threading.Event()

    def until_the_client_writes() -> None:
        wait_for(lambda: len(names(target.parent)) > files)
        begun.set()

    server.answers["/data.bin"] = reset(BODY, after=500_000, pause=until_the_client_writes)
    with refused(target, "broke off after .* of 1,048,576 bytes"):
        fetch(server.url("/data.bin"), target, SHA256)
    assert begun.is_set()


def test_a_connection_closed_before_the_answer_is_refused(server: LocalServer, target: Path) -> None:
    server.answers["/data.bin"] = lambda handler: None
    with refused(target, "cannot reach"):
        fetch(server.url("/data.bin"), target, SHA256)


@pytest.mark.parametrize("sent", [0, 500_000])
def test_a_server_that_stops_sending_is_given_up(server: LocalServer, target: Path, sent: int) -> None:
    done = threading.Event()
    server.answers["/data.bin"] = paused(BODY, after=sent, pause=lambda: done.wait(30))
    try:
        with refused(target, "broke off after .*timed out"):
            fetch(server.url("/data.bin"), target, SHA256, timeout=0.3)
    finally:
        done.set()


@pytest.mark.parametrize(("status", "reason"), [(404, "Not Found"), (500, "Internal Server Error")])
def test_an_error_status_is_refused(server: LocalServer, target: Path, status: int, reason: str) -> None:
    server.answers["/data.bin"] = failed(status)
    with refused(target, f"fetch: http://127.0.0.1:.*/data.bin answered {status} {reason}"):
        fetch(server.url("/data.bin"), target, SHA256)


def test_no_connection_is_refused(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with refused(target, "cannot reach http://127.0.0.1:.*refused.*Check the network"):
        fetch(f"http://127.0.0.1:{closed_port()}/data.bin", target, SHA256)


def test_a_redirect_is_followed(server: LocalServer, target: Path) -> None:
    server.answers["/moved"] = redirected(server.url("/data.bin"))
    assert fetch(server.url("/moved"), target, SHA256).read_bytes() == BODY
    assert server.requests == ["/moved", "/data.bin"]


@pytest.mark.parametrize("scheme", ["file", "ftp", "data"])
def test_a_redirect_away_from_http_is_refused(server: LocalServer, target: Path, scheme: str) -> None:
    secret = target.parent / "secret"
    secret.write_bytes(BODY)
    url = {"file": secret.as_uri(), "ftp": "ftp://127.0.0.1/data.bin", "data": "data:,text"}[scheme]
    server.answers["/moved"] = redirected(url)
    with refused(target, "answered 302|unknown url type"):
        fetch(server.url("/moved"), target, SHA256)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/x", "data.bin", "http://", "", "https:x"])
def test_only_http_urls_are_taken(target: Path, url: str) -> None:
    with pytest.raises(ValueError, match="expected an http:// or https:// URL with a host, got"):
        fetch(url, target, SHA256)


@pytest.mark.parametrize("sha256", ["", SHA256[1:], SHA256 + "0", "x" * 64, SHA256 + "\n"])
def test_only_a_sha256_is_taken(server: LocalServer, target: Path, sha256: str) -> None:
    with pytest.raises(ValueError, match="sha256 must be 64 hexadecimal digits"):
        fetch(server.url("/data.bin"), target, sha256)
    assert server.requests == []


def test_a_full_disk_is_reported_as_such(server: LocalServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [(name, (target.parent / name).read_bytes()) for name in names(target.parent)]

    def fail(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
        fetch(server.url("/data.bin"), target, SHA256)
    assert not isinstance(caught.value, DownloadError)
    assert [(name, (target.parent / name).read_bytes()) for name in names(target.parent)] == before


def start_fetch(server: LocalServer, target: Path) -> subprocess.Popen[bytes]:
    program = "import sys; from ostinato.files.fetch import fetch; fetch(*sys.argv[1:])"
    return subprocess.Popen([sys.executable, "-c", program, server.url("/data.bin"), str(target), SHA256])


def test_a_killed_download_leaves_the_old_file_and_the_next_one_cleans_up(server: LocalServer, target: Path) -> None:
    before = names(target.parent)
    done = threading.Event()
    server.answers["/data.bin"] = paused(BODY, after=700_000, pause=lambda: done.wait(60))
    with start_fetch(server, target) as process:
        wait_for(lambda: any(target.parent.glob(".data.bin.*")))
        (temporary,) = target.parent.glob(".data.bin.*")
        wait_for(lambda: temporary.stat().st_size > 0)
        process.kill()
    done.set()
    assert process.returncode == -signal.SIGKILL
    assert names(target.parent) == [temporary.name, *before]
    assert not target.exists() or target.read_bytes() == OLD
    server.answers["/data.bin"] = whole(BODY)
    assert fetch(server.url("/data.bin"), target, SHA256).read_bytes() == BODY
    assert names(target.parent) == ["data.bin"]


def test_two_processes_at_once_both_get_the_file(server: LocalServer, target: Path) -> None:
    both = threading.Barrier(2, timeout=60)
    server.answers["/data.bin"] = paused(BODY, after=700_000, pause=both.wait)
    with start_fetch(server, target) as first, start_fetch(server, target) as second:
        pass
    assert (first.returncode, second.returncode) == (0, 0)
    assert server.requests == ["/data.bin", "/data.bin"]
    assert target.read_bytes() == BODY
    assert names(target.parent) == ["data.bin"]


def test_a_download_begun_and_ended_within_another_disturbs_neither(server: LocalServer, target: Path) -> None:
    inner: list[Path] = []

    def fetch_meanwhile() -> None:
        server.answers["/data.bin"] = whole(BODY)
        inner.append(fetch(server.url("/data.bin"), target, SHA256))
        assert target.read_bytes() == BODY

    files = len(names(target.parent))

    def once_the_other_writes() -> None:
        wait_for(lambda: len(names(target.parent)) > files)
        fetch_meanwhile()

    server.answers["/data.bin"] = paused(BODY, after=700_000, pause=once_the_other_writes)
    assert fetch(server.url("/data.bin"), target, SHA256).read_bytes() == BODY
    assert inner == [target]
    assert names(target.parent) == ["data.bin"]
