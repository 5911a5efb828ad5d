"""Keras's own test files for recurrent layers pass on this library (see `tests/keras_suite/README.md`)."""

import pytest

from keras_suite import run

SAVING = {
    "core/masking_test.py::MaskingTest::test_masking_with_tensor": "'Sequential' object has no attribute 'save'",
}
"""Tests that save a model to a .keras file, which this version does not do, and what they fail with."""


@pytest.fixture(scope="module")
def report():
    return run.run(run.keras_root())


def test_the_suite_ran_whole(report):
    assert report.version == run.LISTED_FOR
    assert report.finished, report.output
    assert not report.uncollected
    assert not report.unused, "patterns in deselected.txt that match nothing"
    assert len(report.tests("passed")) + len(report.tests("failed")) == 95
    for file in run.FILES:
        assert any(test.startswith(f"{file}::") for test in report.state), file


def test_everything_passes_but_what_saves_files(report):
    failed = {test: report.message[test] for test in report.tests("failed")}
    unexpected = {test: message for test, message in failed.items() if test not in SAVING}
    assert not unexpected, report.output
    assert failed.keys() == SAVING.keys(), "a test that saves passes: take it off the list"
    for test, message in SAVING.items():
        assert message in failed[test]


def test_skipped_is_only_what_keras_skips_on_torch(report):
    reasons = {report.message[test] for test in report.tests("skipped")}
    assert all("sparse" in each or "ragged" in each or "TensorFlow" in each for each in reasons), reasons
    assert len(report.tests("skipped")) == 5
