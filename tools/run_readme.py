"""Run the Python blocks of a Markdown file, as a reader who pastes them one after another would.

Each fenced ``python`` block runs, in order, in one namespace and in a temporary folder. Where a fenced
``text`` block follows it with only blank lines between, that is what the block must print, compared as
doctest does: ``...`` stands for anything, and any run of white space for any other.

    python tools/run_readme.py README.md
"""

import argparse
import contextlib
import doctest
import io
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[^\s`{]*)[^`]*$")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the first line of the text and the closing one."""

    language: str
    text: str
    line: int
    end: int


@dataclass(frozen=True)
class Example:
    """A Python block and what it must print; None where the file does not say."""

    code: Block
    expected: str | None


def blocks(markdown: str) -> list[Block]:
    """List the fenced blocks in order. Raises ValueError when one is not closed."""
    found: list[Block] = []
    opening: re.Match[str] | None = None
    body: list[str] = []
    for number, line in enumerate(markdown.splitlines(), start=1):
        fence = FENCE.match(line)
        if opening is None:
            opening, body = fence, []
            continue
        mark = opening["fence"]
        if fence and fence["fence"].startswith(mark) and not line[fence.end("fence") :].strip():
            start = number - len(body)
            found.append(Block(opening["language"], "".join(body), start, number))
            opening = None
        else:
            body.append(line.removeprefix(opening["indent"]) + "\n")
    if opening is not None:
        raise ValueError(f"the block that starts with {opening[0].strip()!r} is never closed")
    return found


def examples(markdown: str) -> list[Example]:
    """Pair each Python block with the output that follows it.

    Raises ValueError when there is none to run, or one that would pass unrun (``py``, ``pycon``).
    """
    lines = markdown.splitlines()
    every = blocks(markdown)
    found = []
    for block, after in zip(every, [*every[1:], None], strict=True):
        if block.language == "python":
            expected = None
            if after and after.language == "text" and not "".join(lines[block.end : after.line - 2]).strip():
                expected = after.text
            found.append(Example(block, expected))
        elif block.language.lower().startswith("py"):
            where = f"line {block.line}: a {block.language!r} block"
            raise ValueError(f"{where} would not be run; call it 'python'")
    if not found:
        raise ValueError("no python block found")
    return found


def run(path: Path) -> int:
    """Run the examples of `path`; return 1 upon the first that prints what it should not, else 0.

    What a block raises is not caught: its traceback names the file and the line.
    """
    path = path.resolve()
    todo = examples(path.read_text(encoding="utf-8"))
    # In sys.modules, as a script is: dataclasses and pickle look a class's module up there.
    module = ModuleType("__main__")
    previous = sys.modules["__main__"]
    sys.modules["__main__"] = module
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            for number, example in enumerate(todo, start=1):
                where = f"{path.name}, line {example.code.line}: block {number} of {len(todo)}"
                if not _run_one(example, path, where, module):
                    return 1
    finally:
        sys.modules["__main__"] = previous
    return 0


def _run_one(example: Example, path: Path, where: str, module: ModuleType) -> bool:
    print(where, end=" ", flush=True)
    printed = io.StringIO()
    start = time.perf_counter()
    passed = False
    try:
        # Blank lines before the code, so that a traceback's line numbers are the file's.
        code = compile("\n" * (example.code.line - 1) + example.code.text, str(path), "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, module.__dict__)
        passed = example.expected is None or doctest.OutputChecker().check_output(
            example.expected, printed.getvalue(), FLAGS
        )
    finally:
        print(f"{'passed' if passed else 'FAILED'} in {time.perf_counter() - start:.1f} s", flush=True)
        if not passed:
            print(f"--- it printed\n{printed.getvalue()}", end="", flush=True)
            if example.expected is not None:
                print(f"--- where the file has\n{example.expected}", end="", flush=True)
    return passed


def main(arguments: list[str] | None = None) -> int:
    """Run the file named on the command line."""
    parser = argparse.ArgumentParser(description="Run the Python blocks of a Markdown file.")
    parser.add_argument("path", type=Path, nargs="?", default=Path("README.md"))
    os.environ.setdefault("MPLBACKEND", "Agg")
    return run(parser.parse_args(arguments).path)


if __name__ == "__main__":
    sys.exit(main())
