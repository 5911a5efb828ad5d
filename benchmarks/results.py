"""A folder of results: what each kind of measurement found, written line by line while it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.race import Outcome

KINDS = ("layers", "fit", "memory", "overhead")


class Results:
    """The files of a folder: one of JSON lines for each kind of measurement."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def begin(self, kind: str, machine: dict[str, Any]) -> None:
        """Forget what was found before of this kind; the first line is about the machine."""
        self._file(kind).write_text(json.dumps(machine) + "\n")

    def add(self, kind: str, found: dict[str, Any]) -> None:
        with self._file(kind).open("a") as file:
            file.write(json.dumps(found) + "\n")

    def machine(self, kind: str) -> dict[str, Any] | None:
        """What `begin` was told, or None where nothing was measured."""
        lines = self._lines(kind)
        return lines[0] if lines else None

    def found(self, kind: str) -> list[dict[str, Any]]:
        return self._lines(kind)[1:]

    def outcomes(self, kind: str) -> list[Outcome]:
        return [Outcome(**each) for each in self.found(kind)]

    def _file(self, kind: str) -> Path:
        return self.folder / f"{kind}.jsonl"

    def _lines(self, kind: str) -> list[dict[str, Any]]:
        file = self._file(kind)
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
