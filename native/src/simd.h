// Vectors of floats, as wide as the instruction set has them, and the functions on them that cells need.
//
// The compiler's vector extensions say everything once for all instruction sets; only loads and stores of part of a
// vector are spelt out where there are instructions for them. Everything is in a namespace of its instruction set, and
// no standard template is used: the linker must not take one set's code for another's.
#pragma once

#include <cstdint>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

namespace ostinato::OSTINATO_ISA {

#if defined(__AVX512F__)
constexpr int V = 16;          // floats in a vector
constexpr int TILE_ROWS = 6;   // of a tile of 4 vectors: 24 sums, 4 weights, 1 factor, of 32 registers
constexpr __mmask16 ALL = 0xFFFF;
#elif defined(__AVX2__)
constexpr int V = 8;
constexpr int TILE_ROWS = 3;
#elif defined(__aarch64__)
constexpr int V = 4;
constexpr int TILE_ROWS = 6;
#else
constexpr int V = 4;
constexpr int TILE_ROWS = 2;
#endif

typedef float vec __attribute__((vector_size(4 * V)));
typedef float loose_vec __attribute__((vector_size(4 * V), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * V)));

#define INLINE inline __attribute__((always_inline))
INLINE int64_t divided_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

INLINE vec splat(float x) { return x - vec{}; }
INLINE vec load(const float* p) { return *reinterpret_cast<const loose_vec*>(p); }
INLINE void store(float* p, vec x) { *reinterpret_cast<loose_vec*>(p) = x; }

// The first n floats, zeros after them.
INLINE vec load(const float* p, int64_t n) {
    if (n >= V) return load(p);
#if defined(__AVX512F__)
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif defined(__AVX2__)
    const __m256i at = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return (vec)_mm256_maskload_ps(p, at);
#else
    vec x{};
    for (int i = 0; i < n; ++i) x[i] = p[i];
    return x;
#endif
}

// n floats that are `step` apart.
INLINE vec load_apart(const float* p, int64_t step, int64_t n) {
    if (step == 1) return load(p, n);
    vec x{};
    for (int i = 0; i < V; ++i)
        if (i < n) x[i] = p[i * step];
    return x;
}

INLINE void store(float* p, vec x, int64_t n) {
    if (n >= V) return store(p, x);
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)x);
#elif defined(__AVX2__)
    const __m256i at = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    _mm256_maskstore_ps(p, at, (__m256)x);
#else
    for (int i = 0; i < n; ++i) p[i] = x[i];
#endif
}

// Factors of products stand in places of four bytes: a float or, where there are instructions for products of bfloat16,
// two of these, of neighbouring depth. A product's depth is counted in places.
#if defined(__AVX512BF16__)
constexpr int64_t TOGETHER = 2;  // numbers in a place

// sum + factor * weight, of both numbers.
INLINE vec plus_product(vec sum, float factor, vec weight) {
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_ps(factor), (__m512bh)weight);
}

// sum + both numbers.
INLINE vec plus_places(vec sum, vec places) {
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(0x3F803F80), (__m512bh)places);
}

INLINE vec interleaved(__m256i even, __m256i odd) {
    const __m512i high = _mm512_maskz_slli_epi32(ALL, _mm512_maskz_cvtepu16_epi32(ALL, odd), 16);
    return (vec)_mm512_or_si512(_mm512_maskz_cvtepu16_epi32(ALL, even), high);
}

INLINE __m256i rounded(vec x) { return (__m256i)_mm512_cvtneps_pbh((__m512)x); }  // to the nearest, and even

// Places with a number of each.
INLINE vec together(vec even, vec odd) { return interleaved(rounded(even), rounded(odd)); }

// The same of V numbers each, which stand in places; a null odd is zeros.
INLINE vec together_at(const float* even, const float* odd) {
    const auto numbers = [](const float* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); };
    return interleaved(numbers(even), odd ? numbers(odd) : _mm256_setzero_si256());
}

// n numbers side by side, in as many places as they need; after the last one zero.
INLINE void store_places(float* to, vec x, int64_t n) {
    if (n >= V) return _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), rounded(x));
    const vec there = (vec)_mm512_maskz_mov_ps((__mmask16)((1u << n) - 1), (__m512)x);
    _mm256_mask_storeu_epi32(to, (__mmask8)((1u << divided_up(n, 2)) - 1), rounded(there));
}
#else
constexpr int64_t TOGETHER = 1;
INLINE vec plus_product(vec sum, float factor, vec weight) { return sum + factor * weight; }
INLINE vec plus_places(vec sum, vec places) { return sum + places; }
INLINE vec together(vec even, vec) { return even; }
INLINE vec together_at(const float* even, const float*) { return load(even); }
INLINE void store_places(float* to, vec x, int64_t n) { store(to, x, n); }
#endif

INLINE int64_t places(int64_t numbers) { return divided_up(numbers, TOGETHER); }

// Of two numbers the one within the limit. NaN stays NaN: of these instructions it is their second operand's.
INLINE vec at_most(vec x, float limit) {
#if defined(__AVX512F__)
    return (vec)_mm512_maskz_min_ps(ALL, (__m512)splat(limit), (__m512)x);
#elif defined(__AVX2__)
    return (vec)_mm256_min_ps((__m256)splat(limit), (__m256)x);
#else
    return x > limit ? splat(limit) : x;
#endif
}

INLINE vec at_least(vec x, float limit) {
#if defined(__AVX512F__)
    return (vec)_mm512_maskz_max_ps(ALL, (__m512)splat(limit), (__m512)x);
#elif defined(__AVX2__)
    return (vec)_mm256_max_ps((__m256)splat(limit), (__m256)x);
#else
    return x < limit ? splat(limit) : x;
#endif
}

// 1 / x of a finite x, to about the last bit.
INLINE vec reciprocal(vec x) {
#if defined(__AVX512F__)
    const vec y = (vec)_mm512_maskz_rcp14_ps(ALL, (__m512)x);
    return y + y * (1.0f - x * y);
#else
    return 1.0f / x;
#endif
}

// 2^x as 2^n (1 + q), with a whole n; |x| at most 126.
struct Power {
    vec q, n;

    INLINE explicit Power(vec x) {
#if defined(__AVX512F__)
        n = (vec)_mm512_maskz_roundscale_ps(ALL, (__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        const vec r = x - n;
#else
        constexpr float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds; the low bits then are the whole number
        const vec shifted = x + magic;
        n = (vec)(((ivec)shifted + (127 - 0x4B400000)) << 23);
        const vec r = x - (shifted - magic);
#endif
        // (2^r - 1) / r for |r| at most 1/2, by a minimax polynomial; its relative error is 1.1e-8.
        vec p = r * 1.540351237e-4f + 1.339073548e-3f;
        p = p * r + 9.618237495e-3f;
        p = p * r + 5.550357434e-2f;
        p = p * r + 2.402264979e-1f;
        q = (p * r + 6.931471879e-1f) * r;
    }

    // y 2^n
    INLINE vec times(vec y) const {
#if defined(__AVX512F__)
        return (vec)_mm512_maskz_scalef_ps(ALL, (__m512)y, (__m512)n);
#else
        return y * n;
#endif
    }
};

INLINE vec sigmoid(vec x) {
    constexpr float log2e = 1.44269504f;
    const vec y = x * -log2e;
    const Power e(at_least(at_most(y, 120.0f), -120.0f));
    const vec s = reciprocal(1.0f + e.times(1.0f + e.q));
    return y > 120.0f ? vec{} : s;  // all the way to 0, where its slope is too
}

// m / (m + 2) with m = exp(2 x) - 1, which is accurate near 0 too.
INLINE vec tanh(vec x) {
    constexpr float two_log2e = 2.88539008f;
    const Power e(at_least(at_most(x * two_log2e, 30.0f), -30.0f));
    const vec one = splat(1.0f);
    const vec m = e.times(e.q) + (e.times(one) - one);
    return m * reciprocal(m + 2.0f);
}

}  // namespace ostinato::OSTINATO_ISA
