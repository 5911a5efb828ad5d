// The microkernel: sums of products for a tile of rows by vectors, kept in registers.
#pragma once

#include "simd.h"

namespace ostinato::OSTINATO_ISA {

constexpr int WIDTH = 4;  // vectors in a tile

// Where the left factor of a product stands: the number of row r, depth k, and, where each vector has a factor of its
// own (dropout masks for each gate), of vector v.
struct Rows {
    const float* at;
    int64_t stride;
    INLINE float operator()(int r, int64_t k, int) const { return at[r * stride + k]; }
    INLINE Rows from(int64_t k) const { return {at + k, stride}; }
};

struct Columns {
    const float* at;
    int64_t stride;
    INLINE float operator()(int r, int64_t k, int) const { return at[k * stride + r]; }
    INLINE Columns from(int64_t k) const { return {at + k * stride, stride}; }
};

// Rows or columns, one set for each `Each` vectors, `apart` floats from the set before.
template <class Factor, int Each>
struct Apart {
    Factor factor;
    int64_t apart;
    INLINE float operator()(int r, int64_t k, int v) const {
        return Factor{factor.at + (v / Each) * apart, factor.stride}(r, k, v);
    }
    INLINE Apart from(int64_t k) const { return {factor.from(k), apart}; }
};

constexpr int TILE_FLOATS = TILE_ROWS * WIDTH * V;

template <int Tall, int Wide>
struct Tile {
    vec sum[Tall][Wide];

    INLINE void clear() {
        for_each([](vec& sum, int, int) { sum = vec{}; });
    }

    // Out of the registers, [row][vector][V]: what is done with sums then is said once for tiles of all heights.
    INLINE void put(float* to) {
        for_each([&](vec& sum, int r, int v) { store(to + (r * Wide + v) * V, sum); });
    }

    INLINE void add_to(float* to) {
        for_each([&](vec& sum, int r, int v) {
            float* at = to + (r * Wide + v) * V;
            store(at, load(at) + sum);
        });
    }

    INLINE void take(const float* from) {
        for_each([&](vec& sum, int r, int v) { sum = load(from + (r * Wide + v) * V); });
    }

    // Call `work(sum, row, vector)` for each.
    template <class Work>
    INLINE void for_each(Work work) {
#pragma GCC unroll 8
        for (int r = 0; r < Tall; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < Wide; ++v) work(sum[r][v], r, v);
    }
};

// sum[r][First + v] += factor(r, k, v) * weights[k * Step + v], over all k.
template <int First, int Count, int Tall, int Wide, class Factor>
INLINE void multiply(Tile<Tall, Wide>& tile, Factor factor, const float* weights, int64_t step, int64_t depth) {
    static_assert(First + Count <= Wide);
    for (int64_t k = 0; k < depth; ++k) {
        vec weight[Count];
#pragma GCC unroll 8
        for (int v = 0; v < Count; ++v) weight[v] = load(weights + k * step + v * V);
#pragma GCC unroll 8
        for (int r = 0; r < Tall; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < Count; ++v) tile.sum[r][First + v] += factor(r, k, v) * weight[v];
    }
}

// As `multiply`, for tiles of few rows: twice as many sums hide the time that one takes. Even and odd depths are summed
// apart; a caller chooses by the whole batch, so that no number depends on how rows are dealt out.
template <int First, int Count, int Tall, int Wide, class Factor>
INLINE void multiply_split(Tile<Tall, Wide>& tile, Factor factor, const float* weights, int64_t step, int64_t depth) {
    Tile<Tall, Count> odd;
    odd.clear();
    const int64_t pairs = depth / 2;
    for (int64_t k = 0; k < 2 * pairs; k += 2) {
#pragma GCC unroll 8
        for (int v = 0; v < Count; ++v) {
            const vec even_weight = load(weights + k * step + v * V);
            const vec odd_weight = load(weights + (k + 1) * step + v * V);
#pragma GCC unroll 8
            for (int r = 0; r < Tall; ++r) {
                tile.sum[r][First + v] += factor(r, k, v) * even_weight;
                odd.sum[r][v] += factor(r, k + 1, v) * odd_weight;
            }
        }
    }
    for (int64_t k = 2 * pairs; k < depth; ++k)
        for (int v = 0; v < Count; ++v) {
            const vec weight = load(weights + k * step + v * V);
            for (int r = 0; r < Tall; ++r) tile.sum[r][First + v] += factor(r, k, v) * weight;
        }
    for (int r = 0; r < Tall; ++r)
        for (int v = 0; v < Count; ++v) tile.sum[r][First + v] += odd.sum[r][v];
}

constexpr int64_t DEEP = 128;  // products that are summed one after the other; more are summed apart, for less error

// As `multiply`, in parts of DEEP.
template <int First, int Count, int Tall, int Wide, class Factor>
INLINE void multiply_deep(Tile<Tall, Wide>& tile, Factor factor, const float* weights, int64_t step, int64_t depth) {
    if (depth <= DEEP) return multiply<First, Count>(tile, factor, weights, step, depth);
    alignas(64) float total[TILE_FLOATS];
    tile.put(total);
    for (int64_t k = 0; k < depth; k += DEEP) {
        tile.clear();
        multiply<First, Count>(tile, factor.from(k), weights + k * step, step, depth - k < DEEP ? depth - k : DEEP);
        tile.add_to(total);
    }
    tile.take(total);
}

template <int N>
struct Number {
    static constexpr int value = N;
};

// Call `work(Number<n>)` for an n from 1 to Most that is known only when the program runs.
template <int Most, class Work>
INLINE void with_number(int64_t n, Work work) {
    if constexpr (Most > 1) {
        if (n < Most) return with_number<Most - 1>(n, work);
    }
    work(Number<Most>{});
}

// Deal out rows [first, end) in tiles of nearly the same height: `work(Number<height>, row)`.
template <int Most = TILE_ROWS, class Work>
INLINE void for_tiles(int64_t first, int64_t end, Work work) {
    const int64_t rows = end - first;
    if (rows <= 0) return;
    const int64_t tiles = (rows + Most - 1) / Most, low = rows / tiles, higher = rows % tiles;
    for (int64_t i = 0, row = first; i < tiles; ++i) {
        const int64_t height = low + (i < higher);
        with_number<Most>(height, [&](auto tall) { work(tall, row); });
        row += height;
    }
}

}  // namespace ostinato::OSTINATO_ISA
