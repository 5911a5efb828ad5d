"""The native library: the one that is installed, and what is said of files that are not it."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import torch

from ostinato.engines import library
from ostinato.engines.library import Library, absent, load, open_library


@pytest.fixture
def installed():
    """The library that was installed with the package; there must be one wherever there is a compiler."""
    found = load()
    if found is None and not any(map(shutil.which, ["c++", "g++", "clang++"])):
        pytest.skip(f"no C++ compiler here: {absent()}")
    assert found is not None, absent()
    return found


def run(code, **environment):
    """What Python prints for `code`, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_library_is_loaded_once(installed):
    assert absent() is None
    assert load() is installed
    assert installed.functions.ostinato_abi() == library.ABI
    assert installed.isa in ("avx512_bf16", "avx512", "avx2", "plain")


def test_the_instruction_set_is_one_that_the_processor_has(installed):
    torch_says = torch.backends.cpu.get_cpu_capability().lower()
    if torch_says in ("avx512", "avx2") and "ATEN_CPU_CAPABILITY" not in os.environ:
        assert installed.isa.removesuffix("_bf16") == torch_says
    else:
        assert installed.isa == "plain"


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_as_many_threads_work_as_are_asked_for(installed, threads):
    assert installed.team(threads) == threads


ONE_POOL = """
import os, re, torch
torch.set_num_threads(3)
from ostinato.engines.library import load
from_torch = len(os.listdir("/proc/self/task"))
torch.ones(1 << 22).exp()
at_work = len(os.listdir("/proc/self/task"))
library = load()
print(at_work - from_torch, library.team(3), len(os.listdir("/proc/self/task")) - at_work)
with open("/proc/self/maps") as maps:
    print(*set(re.findall("/(lib[a-z]*omp[^/]*)$", maps.read(), re.MULTILINE)))
"""


def test_there_is_one_pool_of_threads_and_it_is_torchs(installed):
    counts, mapped = run(ONE_POOL).splitlines()
    assert counts == "2 3 0"  # torch started two threads beside its own; the library's team of three started none
    assert len(mapped.split()) == 1


def test_it_needs_nothing_but_the_c_library(installed):
    """No C++ runtime, which would have to fit, and no OpenMP of its own."""
    listed = subprocess.run(["ldd", installed.path], capture_output=True, text=True, check=True).stdout
    needed = {re.split(r"[.-]", os.path.basename(line.split()[0]))[0] for line in listed.splitlines()}
    assert needed <= {"linux", "ld", "libc", "libm", "statically"}


WITHOUT_TORCH = """
import ctypes
try:
    ctypes.CDLL({path!r})
except OSError as error:
    print(error)
"""


def test_without_torch_its_openmp_is_missing(installed):
    said = run(WITHOUT_TORCH.format(path=installed.path))
    assert re.search("undefined symbol: (GOMP|omp)_", said)


def test_another_interface_is_a_reason(installed, monkeypatch):
    monkeypatch.setattr(library, "ABI", library.ABI + 1)
    said = open_library(installed.path)
    assert said == (
        f"needs a library with interface {library.ABI}; {installed.path} has {library.ABI - 1}. Install ostinato again"
    )


def test_a_missing_function_is_a_reason(installed, monkeypatch):
    monkeypatch.setitem(library.SIGNATURES, "ostinato_nothing", (None, ()))
    assert re.match("needs a library of ostinato's: .*undefined symbol: ostinato_nothing", open_library(installed.path))


def test_what_is_no_library_of_ours_is_a_reason(tmp_path):
    text = tmp_path / "library.so"
    text.write_text("not a library")
    assert re.match("cannot load its library: .*(invalid ELF header|too short)", open_library(str(text)))
    missing = str(tmp_path / "missing.so")
    assert re.match("cannot load its library: .*No such file", open_library(missing))
    assert re.match("cannot load its library: ", open_library(str(tmp_path)))
    theirs = os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_global_deps.so")
    assert re.match("needs a library of ostinato's: .*undefined symbol: ostinato_abi", open_library(theirs))


def test_the_environment_names_another_file(installed, tmp_path):
    copy = shutil.copy(installed.path, tmp_path / "another.so")
    code = "from ostinato.engines.library import absent, load; print(load() and load().path, absent())"
    assert run(code, OSTINATO_NATIVE_LIBRARY=copy) == f"{copy} None\n"
    assert run(code, OSTINATO_NATIVE_LIBRARY="") == f"{installed.path} None\n"
    missing = str(tmp_path / "missing.so")
    assert run(code, OSTINATO_NATIVE_LIBRARY=missing).startswith(f"None cannot load its library: {missing}: ")


def test_the_environment_names_a_lesser_instruction_set(installed):
    code = "from ostinato.engines.library import absent, load; print(load() and load().isa, absent())"
    best = run(code, OSTINATO_NATIVE_ISA="").split()[0]
    for isa in ("plain", best.removesuffix("_bf16"), best):
        assert run(code, OSTINATO_NATIVE_ISA=isa) == f"{isa} None\n"
    said = run(code, OSTINATO_NATIVE_ISA="neon")
    assert said.startswith("None cannot run 'neon', which OSTINATO_NATIVE_ISA asks for: ")
    assert said.endswith(f"{installed.path} runs {best!r} on this processor\n")


def test_a_relative_path_is_relative_to_the_folder_one_is_in(installed, tmp_path, monkeypatch):
    shutil.copy(installed.path, tmp_path / "another.so")
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_library("another.so"), Library)


@pytest.mark.parametrize(
    ("platform", "reason"), [("linux", "was not built: .*C.. compiler"), ("darwin", "is for Linux")]
)
def test_no_library_beside_the_package_is_a_reason(monkeypatch, platform, reason):
    monkeypatch.setattr(library, "NAME", "libostinato_missing.so")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.delenv(library.VARIABLE, raising=False)
    assert re.match(f"its library {reason}", library._found.__wrapped__())
