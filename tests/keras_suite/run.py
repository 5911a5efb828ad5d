"""Runs Keras's own test files for recurrent layers against ostinato.

    python tests/keras_suite/run.py [--site SITE] [--module NAME] [-k EXPRESSION] [--output]

The test files are read from the installed Keras (with `--site`, from another site-packages folder or a wheel), copied
to a temporary folder with `keras` rewritten to `kerasshim` in their import lines, nothing else, and run by a pytest of
their own. Exit status 1 if anything failed or did not run.
"""

import argparse
import collections
import dataclasses
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LISTED_FOR = "3.15.1"
RNN = (
    "rnn simple_rnn gru lstm bidirectional stacked_rnn_cells time_distributed "
    "conv_lstm conv_lstm1d conv_lstm2d conv_lstm3d"
)
FILES = [f"rnn/{name}_test.py" for name in RNN.split()] + [
    f"core/{name}_test.py" for name in ("embedding", "masking", "dense")
]
IMPORT = re.compile(r"^(\s*(?:from|import)\s+)keras(?=[.\s])", re.MULTILINE)


@dataclasses.dataclass
class Report:
    """state: "passed", "failed", "skipped" or "deselected", by test; message: of a failure, else the reason.

    A selected test without a result, or a file that cannot be collected, has failed. unused: patterns of
    `deselected.txt` that match no test; finished: whether pytest came to its end; output: what it printed.
    """

    version: str
    state: dict[str, str]
    message: dict[str, str]
    uncollected: list[str]
    unused: list[str]
    finished: bool
    output: str

    def tests(self, state):
        return sorted(test for test, found in self.state.items() if found == state)


def keras_root(site=None):
    """The folder `keras`: below a site-packages folder, in a wheel, or as installed."""
    if site is None:
        return Path(importlib.metadata.distribution("keras").locate_file("keras"))
    return zipfile.Path(site, "keras/") if zipfile.is_zipfile(site) else Path(site) / "keras"


def lay_out(root, folder):
    """Copy the shim and the rewritten test files into `folder`; returns the tests' paths."""
    shutil.copytree(HERE / "kerasshim", folder / "kerasshim", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("plugin.py", "deselected.txt"):
        shutil.copyfile(HERE / name, folder / name)
    copies = []
    for name in FILES:
        text = (root / "src" / "layers").joinpath(*name.split("/")).read_text(encoding="utf-8")
        copies.append(folder / "kerasshim" / "src" / "layers" / name)
        copies[-1].write_text(IMPORT.sub(r"\1kerasshim", text), encoding="utf-8")
    return copies


def run(root, module="ostinato", expression="", timeout=600):
    """Run the suite of the Keras in `root` against `module`. timeout: seconds."""
    with tempfile.TemporaryDirectory(prefix="keras-suite-") as name:
        folder = Path(name)
        copies = lay_out(root, folder)
        report = folder / "report.jsonl"
        report.touch()
        command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-c", os.devnull, "--rootdir", name]
        command += ["-p", "plugin", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
        command += [*(["-k", expression] if expression else []), *map(str, copies)]
        environment = os.environ | {
            "KERAS_SUITE_REPORT": str(report),
            "KERAS_SUITE_MODULE": module,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_ADDOPTS": "",
            "PYTHONPATH": os.pathsep.join(filter(None, [name, os.environ.get("PYTHONPATH")])),
        }
        pipes = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(command, env=environment, timeout=timeout, check=False, **pipes)
        facts = [json.loads(line) for line in report.read_text().splitlines()]
    version = re.search(r'__version__ = "(.+?)"', (root / "src" / "version.py").read_text(encoding="utf-8"))[1]
    return summarise(facts, version, done.stdout)


def summarise(facts, version, output):
    report = Report(version, {}, {}, [], [], False, output)
    for fact in facts:
        match fact["kind"]:
            case "selected":
                report.state[fact["id"]], report.message[fact["id"]] = "failed", "no result"
            case "deselected":
                report.state[fact["id"]], report.message[fact["id"]] = "deselected", fact["reason"]
            case "uncollected":
                report.uncollected.append(f"{fact['id']}: {fact['message']}")
            case "result":  # the last one counts: a failed teardown overrides a passed call
                report.state[fact["id"]], report.message[fact["id"]] = fact["outcome"], fact["message"]
            case "unused":
                report.unused.append(fact["pattern"])
            case "finished":
                report.finished = True
    return report


def one_line(text, width=180):
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 3] + "..."


def show(report):
    for state in ("deselected", "skipped"):
        print(f"\n{state}:")
        for reason, count in collections.Counter(report.message[test] for test in report.tests(state)).items():
            print(f"  {count:3}  {one_line(reason)}")
    for pattern in report.unused:
        print(f"  !    a pattern of deselected.txt matches no test: {pattern}")
    print("\nfailed:")
    for test in report.tests("failed"):
        print(f"  {test}\n      {one_line(report.message[test])}")
    for what in report.uncollected:
        print(f"  not collected: {one_line(what)}")
    columns = ["passed", "failed", "skipped", "deselected"]
    print(f"\n{'':34}" + "".join(f"{column:>12}" for column in columns))
    for file in FILES:
        counts = collections.Counter(state for test, state in report.state.items() if test.startswith(f"{file}::"))
        print(f"{file:34}" + "".join(f"{counts[column]:12}" for column in columns))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", help="site-packages folder or wheel of another Keras than the installed one")
    parser.add_argument("--module", default="ostinato", help="library under test")
    parser.add_argument("-k", default="", help="pytest expression to select tests")
    parser.add_argument("--output", action="store_true", help="print pytest's own output first")
    options = parser.parse_args()

    report = run(keras_root(options.site), options.module, options.k)
    if options.output or not report.finished:
        print(report.output)
    note = "" if report.version == LISTED_FOR else f" (deselected.txt was written for {LISTED_FOR})"
    print(f"the tests of Keras {report.version} against {options.module}{note}")
    show(report)
    passed, failed = len(report.tests("passed")), len(report.tests("failed")) + len(report.uncollected)
    print(f"{passed} passed, {failed} failed" + ("" if report.finished else "; pytest did not come to its end"))
    return 0 if passed and not failed and report.finished else 1


if __name__ == "__main__":
    sys.exit(main())
