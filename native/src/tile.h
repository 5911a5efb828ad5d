// The microkernel: products for a tile of rows by vectors, summed in registers.
#pragma once

#include "simd.h"

namespace ostinato::OSTINATO_ISA {

constexpr int WIDTH = 4;  // vectors in a tile

// Where the left factor of a product stands: the place of row r, depth k, and, where each vector has a factor of its
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

// How deep a product is: `count` runs of `depth` places, whose factors and weights begin so many floats apart.
struct Runs {
    int64_t count, depth, factors_apart, weights_apart;
};

INLINE Runs one_run(int64_t depth) { return {1, depth, 0, 0}; }

template <class Factor>
struct Product {
    Factor factor;
    const float* weights;
    Runs runs;
};
template <class Factor>
Product(Factor, const float*, Runs) -> Product<Factor>;

// What products are added to, vector v of a sum at `at`: to the sum itself, to nothing, to a vector for all rows.
struct Sum {
    INLINE vec operator()(const float* at, int) const { return load(at); }
};
struct Nothing {
    INLINE vec operator()(const float*, int) const { return vec{}; }
};
struct Bias {
    const float* from;
    INLINE vec operator()(const float*, int v) const { return load(from + v * V); }
};

// sum[r][v] += factor(r, k, v) * weights[k * step + v], over all k.
template <int Tall, int Count, class Factor>
INLINE void multiply(vec (&sum)[Tall][Count], Factor factor, const float* weights, int64_t step, int64_t depth) {
    for (int64_t k = 0; k < depth; ++k) {
        vec weight[Count];
#pragma GCC unroll 8
        for (int v = 0; v < Count; ++v) weight[v] = load(weights + k * step + v * V);
#pragma GCC unroll 8
        for (int r = 0; r < Tall; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < Count; ++v) sum[r][v] = plus_product(sum[r][v], factor(r, k, v), weight[v]);
    }
}

// The same, with even and odd k summed apart: with few rows the sums are too few to hide the time that one takes.
template <int Tall, int Count, class Factor>
INLINE void multiply_split(vec (&sum)[Tall][Count], Factor factor, const float* weights, int64_t step, int64_t depth) {
    vec odd[Tall][Count] = {};
    const int64_t even = depth - depth % 2;
    for (int64_t k = 0; k < even; k += 2) {
#pragma GCC unroll 8
        for (int v = 0; v < Count; ++v) {
            const vec even_weight = load(weights + k * step + v * V);
            const vec odd_weight = load(weights + (k + 1) * step + v * V);
#pragma GCC unroll 8
            for (int r = 0; r < Tall; ++r) {
                sum[r][v] = plus_product(sum[r][v], factor(r, k, v), even_weight);
                odd[r][v] = plus_product(odd[r][v], factor(r, k + 1, v), odd_weight);
            }
        }
    }
    multiply(sum, factor.from(even), weights + even * step, step, depth - even);
    for (int r = 0; r < Tall; ++r)
        for (int v = 0; v < Count; ++v) sum[r][v] += odd[r][v];
}

// sum[r][v] += the product; Split: even and odd k apart.
template <bool Split, int Tall, int Count, class Factor>
INLINE void multiply_runs(vec (&sum)[Tall][Count], Product<Factor> product, int64_t step) {
    for (int64_t run = 0; run < product.runs.count; ++run) {
        if constexpr (Split)
            multiply_split(sum, product.factor, product.weights, step, product.runs.depth);
        else
            multiply(sum, product.factor, product.weights, step, product.runs.depth);
        product.factor = product.factor.from(product.runs.factors_apart);
        product.weights += product.runs.weights_apart;
    }
}

// Make vectors [First, First + Count) of the sums of a tile, [row][Wide][V], `start` and the sum of the products. A
// function of its own, whose only vectors are those of the products: put into others, it has the compiler move them
// about, and runs a fifth slower.
template <int Tall, int Wide, int First, int Count, bool Split, class Start, class... Factor>
__attribute__((noinline)) void add_product(float* sums, Start start, int64_t step, const Product<Factor>&... products) {
    static_assert(First + Count <= Wide);
    vec sum[Tall][Count] = {};
    (multiply_runs<Split>(sum, products, step), ...);
#pragma GCC unroll 8
    for (int r = 0; r < Tall; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < Count; ++v) {
            float* to = sums + (r * Wide + First + v) * V;
            store(to, start(to, First + v) + sum[r][v]);
        }
}

template <int Tall, int Wide>
INLINE void clear(float* sums) {
    for (int i = 0; i < Tall * Wide * V; i += V) store(sums + i, vec{});
}

constexpr int64_t DEEP = 128;  // products that are summed one after the other; more are summed apart, for less error

// The same of any depth, in parts of about DEEP. few: the whole batch has so few rows that sums are split; which is
// not decided by the rows of one tile, as no number may depend on how rows are dealt out.
template <int Tall, int Wide, int First, int Count, class Start, class Factor>
INLINE void add_products(float* sums, Start start, int64_t step, Product<Factor> whole, bool few = false) {
    const Runs runs = whole.runs;
    const int64_t at_once = runs.depth < DEEP ? DEEP / runs.depth : 1;
    for (int64_t run = 0; run < runs.count; run += at_once)
        for (int64_t k = 0; k < runs.depth; k += DEEP) {
            const Product<Factor> part{
                whole.factor.from(run * runs.factors_apart + k), whole.weights + run * runs.weights_apart + k * step,
                {runs.count - run < at_once ? runs.count - run : at_once,
                 runs.depth - k < DEEP ? runs.depth - k : DEEP, runs.factors_apart, runs.weights_apart}};
            const auto add = [&](auto from) {
                if constexpr (Tall <= 2)
                    if (few) return add_product<Tall, Wide, First, Count, true>(sums, from, step, part);
                add_product<Tall, Wide, First, Count, false>(sums, from, step, part);
            };
            if (run + k == 0)
                add(start);
            else
                add(Sum{});
        }
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
