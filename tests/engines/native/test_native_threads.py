"""The native engine's threads: the same bits however many there are, whatever thread or process calls."""

import subprocess
import sys

import pytest
import torch

from native_problems import ask, at_once, cells, everything, options_of_all
from ostinato import layers
from ostinato.engines.flat import results
from ostinato.engines.select import observe
from ostinato.recurrence import scan
from problems import equal, specified

SHARED = {
    "rows": {"batch": 40, "time": 12, "features": 70, "units": 96},
    "few rows": {"batch": 5, "time": 30, "features": 70, "units": 130},
    "units, of two rows": {"batch": 2, "time": 60, "features": 30, "units": 130},
    "units, of one row": {"batch": 1, "time": 60, "features": 30, "units": 130},
}


@pytest.mark.parametrize("sizes", SHARED.values(), ids=SHARED.keys())
@options_of_all
@cells
def test_the_same_bits_with_one_thread_two_and_three_and_from_run_to_run(
    native, threads_of_torch, cell, options, sizes
):
    asked = ask(native, cell, **sizes, **options)
    alone = everything(native, asked)
    for threads in (2, 3, 2):
        threads_of_torch(threads)
        equal(everything(native, asked), alone)
    threads_of_torch(2)
    with torch.no_grad():
        equal(results(specified(asked, native.run(asked))), alone[: len(results(scan(asked)))])


def test_so_much_work_is_shared_indeed(in_float32, threads_of_torch):
    # Else the test above would compare one thread with one thread.
    threads_of_torch(2)
    code = """
import os, sys, torch
torch.set_num_threads(2)
sys.path[:0] = {path!r}
from problems import problem
from ways import WAYS
before = len(os.listdir("/proc/self/task"))
for sizes in {sizes!r}:
    WAYS["native"].run(problem("simple_rnn", **sizes, dtype=torch.float32))
    print(len(os.listdir("/proc/self/task")) - before)
"""
    code = code.format(path=sys.path, sizes=list(SHARED.values()))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1"] * len(SHARED)


def test_two_threads_on_one_processor_wait_for_each_other(in_float32):
    # A thread that looks for the other in vain goes to sleep, and must be woken: at each of many short steps.
    code = """
import os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
import torch
sys.path[:0] = {path!r}
from problems import problem
from ways import WAYS
from ostinato.engines.flat import results
asked = problem("lstm", batch=1, time=300, features=64, units=128, dtype=torch.float32)
found = []
for threads in (1, 2):
    torch.set_num_threads(threads)
    found.append([results(WAYS["native"].run(asked)) for _ in range(3)])
assert all(torch.equal(a, b) for x, y in zip(*found) for a, b in zip(x, y))
assert len(os.listdir("/proc/self/task")) > 1, "no threads"
"""
    done = subprocess.run(
        [sys.executable, "-c", code.format(path=sys.path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_eight_threads_of_python_on_one_layer(native, threads_of_torch, kind, threads):
    threads_of_torch(threads)
    layer = kind(96, return_sequences=True)
    batches = [torch.randn(9 + i, 12, 70, requires_grad=True) for i in range(8)]
    layer(batches[0])

    def work(i):
        found = []
        for _ in range(3):
            outputs = layer(batches[i])
            found += [outputs.detach(), *torch.autograd.grad(outputs.sum(), [batches[i], *layer.trainable_weights])]
        return found

    with observe() as choices:
        wanted = [work(i) for i in range(8)]
    assert {choice.engine for choice in choices} == {"native"}
    for found, right in zip(at_once(8, work), wanted, strict=True):
        equal(found, right)


FORK = """
import os, sys, torch
from ostinato import layers
from ostinato.engines.select import observe
torch.set_num_threads(2)
ran = [kind(64) for kind in (layers.LSTM, layers.GRU, layers.SimpleRNN)]
x = torch.randn(8, 20, 16)
def work():
    outputs = [layer(x) for layer in ran]
    sum(y.sum() for y in outputs).backward()
    return torch.stack(outputs).detach()
with observe() as choices:
    before = work()
assert {choice.engine for choice in choices} == {"native"}
assert len(os.listdir("/proc/self/task")) > 1, "no threads"
child = os.fork()
if child == 0:
    found = work()
    os._exit(0 if torch.equal(found, before) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert torch.equal(work(), before)  # the parent's threads are there as ever
"""

LOADER = """
import torch
from ostinato import layers
torch.set_num_threads(2)
layer = layers.LSTM(64)
x = torch.randn(8, 20, 16)
def work():
    y = layer(x)
    y.sum().backward()
    return y.detach()
before = work()
class Computed(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return work()
loader = torch.utils.data.DataLoader(
    Computed(), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60
)
found = list(loader)
assert len(found) == 4 and all(torch.equal(y, before) for y in found)
assert torch.equal(work(), before)
"""


@pytest.mark.parametrize("code", [FORK, LOADER], ids=["os.fork", "worker of a DataLoader"])
def test_a_process_forked_from_one_with_threads_runs_and_does_not_hang(native, code):
    done = subprocess.run([sys.executable, "-c", code], timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
