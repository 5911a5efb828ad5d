"""The public cases that Keras 2 computed (see `tests/goldens/README.md`): outputs, recorded states, every gradient."""

import collections
import copy
import hashlib
import json
import re

import pytest
import torch

import ostinato
from goldens import arrays as golden
from goldens import replay
from ostinato.recurrence.nests import flatten, map_nest

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


def from_config(layer):
    """The layer that a layer's config describes, as JSON."""
    if isinstance(layer, replay.Chain):
        return replay.Chain([from_config(inner) for inner in layer.layers])
    described = json.loads(json.dumps(ostinato.saving.serialize_keras_object(layer)))
    with ostinato.utils.custom_object_scope(replay.CUSTOM):
        again = ostinato.saving.deserialize_keras_object(described)
    assert json.loads(json.dumps(ostinato.saving.serialize_keras_object(again))) == described
    return again


def in_a_model(layer, x, training, **kwargs):
    """A call of a functional model of the layer, in which all that is a tensor comes in by an Input."""

    def symbol(tensor):
        return ostinato.Input(batch_shape=tensor.shape, dtype=tensor.dtype)

    def is_tensor(leaf):
        return isinstance(leaf, torch.Tensor)

    given = [list(x) if isinstance(x, tuple) else x, kwargs]
    drawn = map_nest(lambda leaf: symbol(leaf) if is_tensor(leaf) else leaf, given)
    outputs = layer(tuple(drawn[0]) if isinstance(x, tuple) else drawn[0], training=training, **drawn[1])
    results = ostinato.Model(flatten(drawn), outputs)(flatten(given))
    for symbolic, result in zip(flatten(outputs), flatten(results), strict=True):
        assert symbolic.shape == result.shape and symbolic.dtype == result.dtype
    return results


WAYS = {"config": {"remade": from_config}, "copy": {"remade": copy.deepcopy}, "model": {"called": in_a_model}}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", WAYS)
def test_public_case_in_other_ways(case, way):
    spec, arrays = CASES[case]
    replay.assert_agrees(replay.run(spec, arrays, "float64", **WAYS[way]), arrays, "float64")
