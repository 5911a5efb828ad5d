"""The native library: where it is, whether it fits, and if there is none, why.

It is compiled with OpenMP and linked without: its symbols resolve to those of the OpenMP that torch has loaded, so that
there is one pool of threads. Hence torch is imported before it is loaded.

It holds kernels for several instruction sets and runs the best that the processor has. The environment variable
`OSTINATO_NATIVE_ISA` may name a lesser one, to test it or to time it: `plain`, `avx2`, `avx512` or `avx512_bf16`, which
is `avx512` with products of bfloat16. It is read once, when the library is loaded; one that cannot run is not passed
over: there is no engine then, and this is the reason.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from dataclasses import dataclass
from importlib import resources

import torch  # noqa: F401  (for its OpenMP)

from ostinato.engines.interface import ABI, SIGNATURES

NAME = "libostinato_native.so"
VARIABLE = "OSTINATO_NATIVE_LIBRARY"
"""The environment variable that may name another file, read once: one just compiled, or one with sanitizers."""
ISA_VARIABLE = "OSTINATO_NATIVE_ISA"
"""The environment variable that may name the instruction set to run, read once."""


@dataclass(frozen=True)
class Library:
    """The native library as it was loaded.

    path: its file. isa: the instruction set that runs: `avx512_bf16`, `avx512`, `avx2` or `plain`. functions: its
    functions by their names, called without the GIL.
    """

    path: str
    isa: str
    functions: ctypes.CDLL

    def team(self, threads: int) -> int:
        """How many threads of torch's pool work in a parallel region that asks for `threads`.

        >>> library = load()
        >>> library is None or library.team(2) <= 2
        True
        """
        return int(self.functions.ostinato_team(threads))


def load() -> Library | None:
    """The library that was built when ostinato was installed, or the one that `OSTINATO_NATIVE_LIBRARY` names.

    The first call loads it, the others return what the first has found. Nothing is raised: `absent` says why there is
    none.

    >>> library = load()
    >>> library is None or library.isa in ("avx512_bf16", "avx512", "avx2", "plain")
    True
    """
    found = _found()
    return found if isinstance(found, Library) else None


def functions() -> ctypes.CDLL:
    """The library's functions. Raises RuntimeError where there is no library, which an engine refuses to run without.

    >>> load() is None or functions().ostinato_abi() == ABI
    True
    """
    found = _found()
    if isinstance(found, str):
        raise RuntimeError(f"the native library is not there: {found}.")
    return found.functions


def absent() -> str | None:
    """Why `load` returns None, in words for `explain`; None where there is a library.

    >>> (absent() is None) == (load() is not None)
    True
    """
    found = _found()
    return None if isinstance(found, Library) else found


def open_library(path: str) -> Library | str:
    """Load the library in a file, or say why that cannot be.

    >>> open_library("/nowhere/libostinato_native.so")
    'cannot load its library: /nowhere/libostinato_native.so: cannot open shared object file: No such file or directory'
    """
    try:
        functions = ctypes.CDLL(os.path.abspath(path))  # a bare name would be looked for among the system's
    except OSError as error:
        return f"cannot load its library: {error}"
    try:
        abi = functions.ostinato_abi
        abi.restype = ctypes.c_int64
        if abi() != ABI:
            return f"needs a library with interface {ABI}; {path} has {abi()}. Install ostinato again"
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(functions, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        return f"needs a library of ostinato's: {error}"
    isa, named = functions.ostinato_isa().decode(), os.environ.get(ISA_VARIABLE)
    if named and named != isa:
        return f"cannot run {named!r}, which {ISA_VARIABLE} asks for: {path} runs {isa!r} on this processor"
    return Library(path, isa, functions)


# No lock, which a fork could leave locked in the child: threads that are first together load the same file.
@functools.cache
def _found() -> Library | str:
    named = os.environ.get(VARIABLE)
    if named:
        return open_library(named)
    built = resources.files("ostinato.engines") / NAME
    if built.is_file():
        return open_library(str(built))
    if sys.platform != "linux":
        return f"its library is for Linux; this is {sys.platform}"
    return (
        "its library was not built: there was no C++ compiler (GCC or Clang) when ostinato was installed, "
        "or it runs from its sources"
    )
