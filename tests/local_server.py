"""A real HTTP server on 127.0.0.1 for tests, which can also fail in the ways that servers and networks do."""

import contextlib
import functools
import hashlib
import http.server
import io
import os
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from ostinato.datasets import digits
from ostinato.datasets.sources import SOURCES, Source

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


def whole(body: bytes) -> Answer:
    """Answer with the body, its length announced."""
    return short(body, announced=len(body))


def short(body: bytes, announced: int) -> Answer:
    """Announce more bytes than the body has, send the body, and close the connection in good order."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        _send_headers(handler, {"Content-Length": str(announced)})
        handler.wfile.write(body)

    return answer


def paused(body: bytes, after: int, pause: Callable[[], object]) -> Answer:
    """Send `after` bytes of the body, call `pause`, and send the others."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        _send_headers(handler, {"Content-Length": str(len(body))})
        handler.wfile.write(body[:after])
        pause()
        handler.wfile.write(body[after:])

    return answer


def reset(body: bytes, after: int, pause: Callable[[], object]) -> Answer:
    """Send `after` bytes of the body, call `pause`, and reset the connection (TCP RST)."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        _send_headers(handler, {"Content-Length": str(len(body))})
        handler.wfile.write(body[:after])
        pause()
        no_linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        handler.rfile.close()  # it holds the socket open
        handler.connection.close()

    return answer


def chunked(chunks: list[bytes], finished: bool) -> Answer:
    """Send the body in chunks, its length unannounced; unfinished, the closing chunk is left out."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        _send_headers(handler, {"Transfer-Encoding": "chunked"})
        for chunk in chunks + [b""] * finished:
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    return answer


def unannounced(body: bytes) -> Answer:
    """Send the body with no length; the end of the connection is its end."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        _send_headers(handler, {})
        handler.wfile.write(body)

    return answer


def failed(status: int) -> Answer:
    """Answer with an error status."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_error(status)

    return answer


def redirected(url: str) -> Answer:
    """Send the client to another address."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        _send_headers(handler, {"Location": url, "Content-Length": "0"}, status=302)

    return answer


def _send_headers(handler: http.server.BaseHTTPRequestHandler, headers: dict[str, str], status: int = 200) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()


class LocalServer:
    """What a test sees of the server: `answers` by path, to be set at any time; `requests`, as they came."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Keep silent: a client that is killed or refuses a body closes the connection early."""


@contextlib.contextmanager
def serve() -> Iterator[LocalServer]:
    """Serve on a free port; a path without an answer gives 404."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            local.requests.append(self.path)
            local.answers.get(self.path, failed(404))(self)

        def log_message(self, format: str, *args: object) -> None:
            """Write no log."""

    with _Server(("127.0.0.1", 0), Handler) as server:
        local = LocalServer(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            with mock.patch.dict(os.environ, {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}):
                yield local
        finally:
            server.shutdown()
            thread.join()


def closed_port() -> int:
    """Give a port of 127.0.0.1 where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@functools.cache
def mnist_file() -> bytes:
    """Give the embedded digits as an mnist.npz: 28x28 uint8, each pixel enlarged to 3x3, a frame of 2."""
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x_train=_enlarged(x_train), y_train=y_train, x_test=_enlarged(x_test), y_test=y_test)
    return buffer.getvalue()


def _enlarged(images: np.ndarray) -> np.ndarray:
    levels = np.minimum(images.astype(np.uint16) * 16, 255).astype(np.uint8)  # 0 to 16 becomes 0 to 255
    return np.pad(np.kron(levels, np.ones((1, 3, 3), dtype=np.uint8)), ((0, 0), (2, 2), (2, 2)))


@contextlib.contextmanager
def serve_mnist(home: Path | None = None) -> Iterator[LocalServer]:
    """Let `mnist.load_data()` really download, from a local server, the embedded digits in MNIST's layout.

    Only the row of the table of sources is replaced: download, checks and cache are the package's own. The
    cache is under `home`, a temporary directory unless told. The server answers at "/mnist.npz".
    """
    with contextlib.ExitStack() as stack:
        if home is None:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(serve())
        server.answers["/mnist.npz"] = whole(mnist_file())
        row = Source(url=server.url("/mnist.npz"), sha256=hashlib.sha256(mnist_file()).hexdigest())
        stack.enter_context(mock.patch.dict(SOURCES, {"mnist": row}))
        stack.enter_context(mock.patch.dict(os.environ, {"OSTINATO_HOME": str(home)}))
        yield server
