"""Run random problems on the native kernels under AddressSanitizer and UndefinedBehaviorSanitizer.

    python tools/fuzz_native.py --cases 2000 --seed 0
    python tools/fuzz_native.py --cases 2000 --isa plain      # a lesser instruction set than the processor's
    python tools/fuzz_native.py --cases 1 --seed 137          # the case that failed

native/ is compiled with sanitizers by GCC, and each seed's case (`tests/fuzz.py`) runs in a process that has loaded
their runtimes. They guard what torch allocates; in the buffers in which kernels keep things, `Parts` in
native/src/layout.h guards each part.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = "libostinato_native.so"
RUNTIMES = ("libasan.so", "libubsan.so")
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=32",  # Python gives back little at its end
    "UBSAN_OPTIONS": "print_stacktrace=1",
}
CASE = "case: "  # begins the line that says what runs next


def missing() -> str | None:
    """Why there can be no library with sanitizers here."""
    for program in ("cmake", "g++"):
        if shutil.which(program) is None:
            return f"there is no {program}"
    absent = [name for name in RUNTIMES if not runtime(name).is_file()]
    return f"GCC has no {' and no '.join(absent)}" if absent else None


def runtime(name: str) -> Path:
    """A library of GCC's; a path that isn't there if it has none."""
    found = subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout
    return Path(found.strip())


def build(folder: Path) -> None:
    """Compile native/ with sanitizers."""
    options = ["-DCMAKE_CXX_COMPILER=g++", "-DOSTINATO_SANITIZE=address,undefined"]
    for command in (
        ["cmake", "-S", str(ROOT / "native"), "-B", str(folder), *options],
        ["cmake", "--build", str(folder), "--parallel", str(os.cpu_count() or 1)],
    ):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stdout}")


def in_child(arguments: argparse.Namespace) -> int:
    """Run the cases in a process with the sanitizers' runtimes; of one that they end, say which case it was."""
    environment = os.environ | OPTIONS
    environment["LD_PRELOAD"] = " ".join(str(runtime(name)) for name in RUNTIMES)
    environment["OSTINATO_NATIVE_LIBRARY"] = str(arguments.build.resolve() / LIBRARY)
    environment["OSTINATO_NATIVE_ISA"] = arguments.isa or ""
    environment["PYTHONPATH"] = os.pathsep.join(str(ROOT / name) for name in ("src", "tests"))
    command = [sys.executable, __file__, "--child", "--cases", str(arguments.cases), "--seed", str(arguments.seed)]
    latest = "before the first case\n"
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            if line.startswith(CASE):
                latest = line
            else:
                print(line, end="", flush=True)
    if child.returncode != 0:
        print(f"exit status {child.returncode}; {latest}", end="")
        print("Repeat it with `--cases 1 --seed` and its seed, and the same `--isa`.")
    return child.returncode


def run(cases: int, seed: int) -> None:
    """Run cases in this process; the first wrong one raises AssertionError."""
    import fuzz  # noqa: PLC0415  (only the child has torch, its path and its library)
    from ostinato.engines import library  # noqa: PLC0415

    if library.absent() is not None:
        sys.exit(f"the native engine {library.absent()}")
    began, found = time.monotonic(), []
    for each in range(seed, seed + cases):
        case = fuzz.draw_case(each)
        print(f"{CASE}{case}", flush=True)
        found.append(fuzz.check(case))
        if len(found) % 500 == 0:
            print(f"{len(found)} cases, {time.monotonic() - began:.0f} s", flush=True)
    compared = [each for each in found if each.steady]
    largest = []
    for dtype in fuzz.DTYPES:
        error = max((each.error for each in compared if each.dtype == dtype), default=0.0)
        largest.append(f"{error:.1e} in {dtype}")
    worst = max(compared, key=lambda each: each.ratio, default=fuzz.Found())
    print(
        f"{library.load().isa}: {cases} cases clean, seeds {seed} to {seed + cases - 1}, in "
        f"{time.monotonic() - began:.0f} s.\n"
        f"{len(compared)} compared with the loop in float64; in the others small errors grow.\n"
        f"Errors, of the largest number of a tensor: {', '.join(largest)} at most; "
        f"most beside the loop's: {worst.error:.1e}, the loop's {worst.loop:.1e}."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000, help="how many; 2000 by default")
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the others follow")
    parser.add_argument(
        "--isa", choices=("plain", "avx2", "avx512", "avx512_bf16"), help="the instruction set; by default the best"
    )
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "sanitize", help="the folder to build in")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run(arguments.cases, arguments.seed)
        return 0
    reason = missing()
    if reason is not None:
        print(f"skipped: sanitizers need GCC and CMake, and {reason}.")
        return 0
    build(arguments.build)
    return in_child(arguments)


if __name__ == "__main__":
    sys.exit(main())
