"""Random problems on the native engine; `tools/fuzz_native.py` runs thousands of them under sanitizers."""

import dataclasses
import random

import pytest
import torch

import fuzz

CASES = 60


def test_random_problems_agree_with_the_loop(native):
    first = random.SystemRandom().randrange(1 << 30)
    compared = 0
    for seed in range(first, first + CASES):
        case = fuzz.draw_case(seed)
        try:
            compared += fuzz.check(case).steady
        except AssertionError as error:
            pytest.fail(f"{case}: {error}")
    assert compared > CASES // 2


def test_a_case_is_its_seed():
    assert fuzz.draw_case(5) == fuzz.draw_case(5) != fuzz.draw_case(6)
    for one, other in zip(fuzz.problems_of(fuzz.draw_case(5)), fuzz.problems_of(fuzz.draw_case(5)), strict=True):
        assert one.inputs.stride() == other.inputs.stride()
        assert one.inputs.equal(other.inputs)


NAN = float("nan")


@pytest.mark.parametrize(
    ("dtype", "factor"), [("float32", 1.01), ("float32", NAN), ("bfloat16", 4.0), ("bfloat16", NAN)]
)
def test_what_is_wrong_is_found(native, monkeypatch, dtype, factor):
    """An engine whose last number is off by more than rounding, or was left out, fails each case."""
    right = fuzz._native

    def wrong(problems):
        *others, last = right(problems)
        factors = torch.ones_like(last)
        factors[-1, -1] = factor
        return [*others, last * factors]

    monkeypatch.setattr(fuzz, "_native", wrong)
    for seed in range(8):
        with pytest.raises(AssertionError):
            fuzz.check(dataclasses.replace(fuzz.draw_case(seed), dtype=dtype))
