// Activations, and their derivatives in terms of their values.
#pragma once

#include "abi.h"
#include "simd.h"

namespace ostinato::OSTINATO_ISA {

// One that is known when the code is compiled: no branch in the innermost loops.
template <int64_t Kind>
struct Fixed {
    INLINE explicit Fixed(int64_t) {}
    INLINE vec operator()(vec x) const {
        if constexpr (Kind == OSTINATO_TANH) return tanh(x);
        if constexpr (Kind == OSTINATO_SIGMOID) return sigmoid(x);
    }
    INLINE vec slope(vec y) const {
        if constexpr (Kind == OSTINATO_TANH) return 1.0f - y * y;
        if constexpr (Kind == OSTINATO_SIGMOID) return y - y * y;
    }
};

// Any of them.
struct Chosen {
    int64_t kind;
    INLINE explicit Chosen(int64_t kind) : kind(kind) {}
    vec operator()(vec x) const {
        switch (kind) {
            case OSTINATO_TANH: return tanh(x);
            case OSTINATO_SIGMOID: return sigmoid(x);
            case OSTINATO_RELU: return at_least(x, 0.0f);
            case OSTINATO_HARD_SIGMOID: return at_most(at_least(x + 3.0f, 0.0f), 6.0f) / 6.0f;
            default: return x;
        }
    }
    vec slope(vec y) const {
        switch (kind) {
            case OSTINATO_TANH: return 1.0f - y * y;
            case OSTINATO_SIGMOID: return y - y * y;
            case OSTINATO_RELU: return y <= 0.0f ? vec{} : splat(1.0f);  // of NaN it is 1, as torch's
            case OSTINATO_HARD_SIGMOID: return (y <= 0.0f) | (y >= 1.0f) ? vec{} : splat(1.0f / 6.0f);
            default: return splat(1.0f);
        }
    }
};

}  // namespace ostinato::OSTINATO_ISA
