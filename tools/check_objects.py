"""Check that what native/ compiles for several instruction sets has no function in common.

Of an inline function (or one of the C++ library) that several objects define, the linker keeps one, which then runs
whatever the processor is. So no symbol may be defined by objects below a build folder that are of different targets:

    python tools/check_objects.py build/wheel
"""

import argparse
import subprocess
import sys
from collections import defaultdict
from pathlib import Path


def shared(objects: list[Path]) -> dict[str, list[str]]:
    """The symbols that objects of more than one target define, and by which targets."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in objects:
        command = ["nm", "--extern-only", "--defined-only", "--demangle", "--format=bsd", str(path)]
        for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
            _, _, symbol = line.split(maxsplit=2)
            found[symbol].add(path.parts[-3])  # the folder that CMake names after the target
    return {symbol: sorted(targets) for symbol, targets in found.items() if len(targets) > 1}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the build folder of CMake")
    folder = parser.parse_args().folder
    objects = sorted(folder.glob("CMakeFiles/ostinato_*.dir/**/*.o"))
    if not objects:
        print(f"{folder}: no objects; nothing was compiled here.")
        return 0
    for symbol, names in (found := shared(objects)).items():
        print(f"{symbol}: defined in each of {', '.join(names)}; put it into the instruction set's namespace.")
    print(f"{folder}: {len(objects)} objects, {len(found)} symbols in common.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
