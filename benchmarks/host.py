"""Processes that peers live in, told what to do one at a time."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.peers import PEERS


class Host:
    """A process of its own for peers that get on in one, with as many processors as there are to be threads.

    Every library makes as many threads as there are processors that its process may use; so all get the same.
    """

    def __init__(self, name: str, threads: int) -> None:
        (backend,) = {peer.backend for peer in PEERS.values() if peer.host == name}
        processors = sorted(os.sched_getaffinity(0))[:threads]
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": str(threads),
                "KERAS_BACKEND": backend,
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
            preexec_fn=functools.partial(os.sched_setaffinity, 0, processors),
        )

    def ask(self, command: str, *arguments: Any) -> Any:
        """The reply to a request. Raises RuntimeError if the process ended instead; it has said why on stderr."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([command, *arguments]) + "\n")
        self.process.stdin.flush()
        reply = self.process.stdout.readline()
        if not reply:
            raise RuntimeError(f"the process of {self.name} ended at {command} {arguments}; see its message above.")
        return json.loads(reply)

    def close(self) -> None:
        self.process.communicate()


@contextlib.contextmanager
def hosts(peers: Iterable[str], threads: int) -> Iterator[dict[str, Host]]:
    """Those that the peers need, by their names, as long as the block runs."""
    started = {name: Host(name, threads) for name in dict.fromkeys(PEERS[peer].host for peer in peers)}
    try:
        yield started
    finally:
        for host in started.values():
            host.close()
