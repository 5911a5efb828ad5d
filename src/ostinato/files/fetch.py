"""Download a file whose SHA-256 is known; nothing else ever comes to stand at its path."""

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import BinaryIO

from ostinato.errors import DownloadError
from ostinato.files.atomic import atomic_writer

_CHUNK = 1 << 18  # bytes


def fetch(url: str, path: str | os.PathLike[str], sha256: str, *, timeout: float = 60.0) -> Path:
    """Return the file at `path`, whose SHA-256 is `sha256`, downloading it from `url` unless it is there.

    A file that is there is hashed; one with another digest is never returned but replaced. The download goes
    to a temporary file that takes the place of `path` only when its length and its digest are the right ones.
    Several processes may fetch one path at the same time.

    Args:
        url: where to get it; http or https, redirects included. Proxies are taken from the environment.
        path: where it is to stand; missing directories are created.
        sha256: the 64 hexadecimal digits of the content's SHA-256.
        timeout: seconds without a byte after which the connection is given up.

    Returns:
        `path` as a `pathlib.Path`.

    Raises:
        DownloadError: no connection, another answer than success, a body shorter than announced, or a wrong
            digest. Nothing was written, and a file that stood at `path` still does.
        ValueError: the URL is not http(s), or `sha256` is not the digits of a SHA-256.
        OSError: the file could not be written; see `ostinato.files.atomic.atomic_writer`.

    Source:
        FIPS 180-4 (SHA-256); RFC 9112, section 8 (a body shorter than its Content-Length is incomplete).

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = Path(folder.name) / "greeting.txt"
        >>> _ = path.write_bytes(b"hello")
        >>> digest = hashlib.sha256(b"hello").hexdigest()
        >>> fetch("https://example.org/greeting.txt", path, digest).name  # it is there: no request is made
        'greeting.txt'
        >>> folder.cleanup()
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"fetch: expected an http:// or https:// URL with a host, got {url!r}.")
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"fetch: sha256 must be 64 hexadecimal digits, got {sha256!r}.")
    expected = sha256.lower()
    target = Path(path)
    if target.is_file() and _digest_of(target) == expected:
        return target
    with _open(url, timeout) as response:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_writer(target) as file:
            digest = _stream(response, file, url)
            if digest != expected:
                raise DownloadError(
                    f"fetch: {url} gave a file with SHA-256 {digest}; expected {expected}. Nothing was kept. "
                    "It was damaged on its way or changed at its source: try again, or on another network."
                )
    return target


def _digest_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(url: str, timeout: float) -> http.client.HTTPResponse:
    """Send the request and give the response, its body unread."""
    opener = urllib.request.OpenerDirector()
    for handler in (  # those of urllib's own opener, less the ones that follow a redirect to ftp
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    request = urllib.request.Request(url, headers={"User-Agent": "ostinato", "Accept-Encoding": "identity"})
    try:
        response: http.client.HTTPResponse = opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        raise DownloadError(
            f"fetch: {url} answered {error.code} {error.reason}; expected the file. Try again later."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(f"fetch: cannot reach {url}: {reason!s}. Check the network and try again.") from error
    return response


def _stream(response: http.client.HTTPResponse, file: BinaryIO, url: str) -> str:
    """Copy the body to `file` and give its digest; a body shorter than announced is refused."""
    announced = response.length  # bytes; None when the server does not say
    received = 0
    hasher = hashlib.sha256()
    while True:
        try:
            chunk = response.read(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            of_announced = "" if announced is None else f" of {announced:,}"
            raise DownloadError(
                f"fetch: the download of {url} broke off after {received:,}{of_announced} bytes: {error!s}. "
                "Nothing was kept; try again."
            ) from error
        if not chunk:
            break
        hasher.update(chunk)
        file.write(chunk)
        received += len(chunk)
    # http.client takes the end of the connection for the end of the body.
    if announced is not None and received != announced:
        raise DownloadError(
            f"fetch: {url} announced {announced:,} bytes and sent {received:,}. Nothing was kept; try again."
        )
    return hasher.hexdigest()
