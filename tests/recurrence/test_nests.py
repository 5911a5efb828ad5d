"""Nests: the order of their leaves, and packing that gives back what was taken apart."""

import collections
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ostinato.recurrence.nests import describe, flatten, is_nested, map_nest, pack_like


class Pair(NamedTuple):
    left: object
    right: object


NESTS = st.recursive(
    st.integers() | st.none() | st.just(torch.Size([2, 3])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=8,
)


def same(a, b):
    """Equal, in containers and leaves of the same types."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        return all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and not isinstance(a, torch.Size):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@given(NESTS)
def test_packing_gives_back_what_was_taken_apart(nest):
    assert same(pack_like(nest, flatten(nest)), nest)
    assert same(map_nest(lambda leaf: leaf, nest), nest)


@given(NESTS)
def test_mapping_meets_the_leaves_in_order(nest):
    seen = []
    map_nest(seen.append, nest)
    assert seen == flatten(nest)


def test_dicts_are_walked_by_sorted_key_and_keep_their_own_order():
    nest = {"b": 1, "a": [2, 3], "c": {"y": 4, "x": 5}}
    assert flatten(nest) == [2, 3, 1, 5, 4]
    packed = pack_like(nest, [20, 30, 10, 50, 40])
    assert packed == {"b": 10, "a": [20, 30], "c": {"y": 40, "x": 50}}
    assert list(packed) == ["b", "a", "c"]
    assert list(packed["c"]) == ["y", "x"]


def test_two_dicts_with_the_same_keys_agree_whatever_their_order():
    assert flatten({"x": 1, "y": 2}) == flatten({"y": 2, "x": 1})
    assert pack_like({"y": 0, "x": 0}, flatten({"x": 1, "y": 2})) == {"x": 1, "y": 2}


def test_an_ordered_dict_is_a_dict():
    assert flatten(collections.OrderedDict(b=1, a=2)) == [2, 1]


def test_named_tuples_stay_named():
    packed = pack_like(Pair(1, [2]), [10, 20])
    assert type(packed) is Pair
    assert packed == Pair(10, [20])
    assert type(map_nest(str, Pair(1, 2))) is Pair


def test_a_shape_is_a_leaf():
    size = torch.Size([2, 3])
    assert not is_nested(size)
    assert flatten(size) == [size]
    assert flatten([size, (4, 5)]) == [size, 4, 5]
    assert flatten((size,)) == [size]
    assert map_nest(len, {"a": size}) == {"a": 2}


@pytest.mark.parametrize(
    ("nest", "leaves"), [([], []), ((), []), ({}, []), (None, [None]), ([None, 1], [None, 1]), (5, [5])]
)
def test_empty_nests_and_lone_leaves(nest, leaves):
    assert flatten(nest) == leaves
    assert same(pack_like(nest, leaves), nest)


def test_a_leaf_may_be_declared():
    def pair(nest):
        return isinstance(nest, tuple)

    nest = [(1, 2), {"a": (3,), "b": 4}]
    assert flatten(nest, pair) == [(1, 2), (3,), 4]
    assert flatten((1, 2), pair) == [(1, 2)]
    assert map_nest(sum, [(1, 2), [(3, 4)]], pair) == [3, [7]]
    assert pack_like(nest, ["x", "y", "z"], pair) == ["x", {"a": "y", "b": "z"}]


def test_flattening_gives_a_new_list():
    nest = [1, 2]
    flatten(nest).append(3)
    assert nest == [1, 2]


def test_a_structure_in_words():
    assert describe([torch.zeros(2, 3), (torch.zeros(4), {"a": 7})]) == "[(2, 3), ((4,), {'a': int})]"
