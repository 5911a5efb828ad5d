"""The public cases that Keras 2 computed (see `tests/goldens/README.md`): outputs, recorded states, every gradient."""

import collections
import hashlib
import re

import pytest

from goldens import arrays as golden
from goldens import replay

CASES = golden.load()
FAMILIES = {
    "plain": 80,
    "bidirectional": 24,
    "stacked": 16,
    "chain": 16,
    "custom": 11,
    "conv_lstm": 8,
    "time_distributed": 5,
}


def test_the_file_is_the_one_that_its_readme_tells_of():
    text = golden.PUBLIC.with_name("README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(golden.PUBLIC.read_bytes()).hexdigest() == re.search(r"\b[0-9a-f]{64}\b", text)[0]
    assert len(CASES) == 160
    assert collections.Counter(spec["family"] for spec, _ in CASES.values()) == FAMILIES
    for case, (spec, arrays) in CASES.items():
        assert spec["case"] == case
        assert {array.dtype.name for name, array in arrays.items() if name[0] not in "mx"} == {"float64"}
        assert {"y", "c", "w", "g"} <= {name[0] for name in arrays}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_public_case(case, dtype):
    spec, arrays = CASES[case]
    replay.assert_agrees(replay.run(spec, arrays, dtype), arrays, dtype)
