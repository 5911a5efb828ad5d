"""Runs inside the suite's own pytest: deselects what `deselected.txt` names, reports each test as a line of JSON."""

import fnmatch
import json
import os
from pathlib import Path

import pytest
import torch

torch.backends.cudnn.allow_tf32 = False  # the expected values are float32
REPORT = Path(os.environ["KERAS_SUITE_REPORT"])


def record(**fact):
    with REPORT.open("a") as file:
        file.write(json.dumps(fact) + "\n")


def short(nodeid):
    return nodeid.partition("kerasshim/src/layers/")[2] or nodeid


def rules():
    """The lines `pattern | reason`."""
    for line in Path(__file__).with_name("deselected.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            pattern, reason = line.split("|")
            yield pattern.strip(), reason.strip()


def pytest_configure(config):
    config.addinivalue_line("markers", "requires_trainable_backend: Keras's mark; torch is one")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    unused, kept, dropped = dict(rules()), [], []
    for item in items:
        name = short(item.nodeid)
        rule = next((rule for rule in rules() if fnmatch.fnmatchcase(name, rule[0])), None)
        if rule is None:
            kept.append(item)
            record(kind="selected", id=name)
        else:
            dropped.append(item)
            unused.pop(rule[0], None)
            record(kind="deselected", id=name, reason=rule[1])
    for pattern in unused:
        record(kind="unused", pattern=pattern)
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept


def pytest_collectreport(report):
    if report.failed:
        record(kind="uncollected", id=short(report.nodeid), message=str(report.longrepr)[-2000:])


def pytest_runtest_logreport(report):
    if report.when != "call" and report.outcome == "passed":
        return
    message = ""
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        message = crash.message if crash else str(report.longrepr)
    elif report.skipped:
        message = report.longrepr[2]
    record(kind="result", id=short(report.nodeid), outcome=report.outcome, message=message)


def pytest_sessionfinish():
    record(kind="finished")
