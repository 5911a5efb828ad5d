"""How the package is built: without a C++ compiler as Python alone, with one that finds an error not at all."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from scikit_build_core.build import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture
def sources(tmp_path):
    """A copy of what a wheel is built from."""
    folder = tmp_path / "sources"
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("native", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return folder


def build(sources, **environment):
    """Build a wheel; the process, and the wheel's files."""
    wheels = sources.parent / "wheels"
    done = subprocess.run(
        [sys.executable, "-c", BUILD, wheels],
        cwd=sources,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return done, [name for wheel in wheels.glob("*.whl") for name in zipfile.ZipFile(wheel).namelist()]


def test_without_a_compiler_the_wheel_is_python_alone_and_says_so(sources):
    done, files = build(sources, CXX=str(sources / "no-compiler"))
    assert done.returncode == 0, done.stdout
    assert "ostinato: installed without its native library, as there is no working C++ compiler" in done.stdout
    assert not [name for name in files if name.endswith(".so")]
    expected = {
        str(path.relative_to(sources / "src")) for path in (sources / "src" / "ostinato").rglob("*") if path.is_file()
    }
    assert {name for name in files if name.startswith("ostinato/")} == expected
    assert {"ostinato/py.typed", "ostinato/datasets/data/digits.npz"} <= expected


def test_what_the_compiler_refuses_is_an_error(sources):
    if not any(map(shutil.which, ["c++", "g++", "clang++"])):
        pytest.skip("no C++ compiler here")
    kernels = sources / "native" / "src" / "kernels.cpp"
    kernels.write_text("#error refused on purpose\n" + kernels.read_text())
    done, files = build(sources)
    assert done.returncode != 0
    assert "refused on purpose" in done.stdout
    assert not files
