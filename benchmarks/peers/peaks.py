"""What the machine reaches: torch's matrix product, and multiply-adds in registers (`fma.c`), in seconds per GFLOP."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from benchmarks.peers import Prepared, Unsupported

SOURCE = Path(__file__).with_name("fma.c")
TURNS = 1_000_000


def sgemm(side: int = 1536) -> Prepared:
    left, right, product = (torch.randn(side, side) for _ in range(3))
    return Prepared(lambda: torch.mm(left, right, out=product), 2e-9 * side**3)


def fma() -> Prepared:
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))), None)
    if compiler is None:
        raise Unsupported("needs a C compiler to measure multiply-adds: cc, gcc or clang")
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "fma.so"
        # -march=native: this library is for the machine that measures and goes with the folder.
        subprocess.run([compiler, "-O3", "-march=native", "-shared", "-fPIC", SOURCE, "-o", built], check=True)
        library = ctypes.CDLL(str(built))
    library.multiply_add.argtypes, library.multiply_add.restype = [ctypes.c_int64], ctypes.c_float
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads)
    gflop = 1e-9 * library.operations_per_turn() * TURNS * threads
    return Prepared(lambda: list(pool.map(library.multiply_add, [TURNS] * threads)), gflop)
