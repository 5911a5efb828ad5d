// The gradient of the inputs, from those of the slots; all steps at once.
#pragma once

#include "pack.h"

namespace ostinato::OSTINATO_ISA {

template <class Cell>
struct InputGradient {
    using At = Layout<Cell>;
    static constexpr int wide = WIDTH * V;

    const OstinatoProblem& p;
    const At& at;
    float* d_gates;
    int64_t parts;  // of the features, a tile's width each
    float* kernel;  // transposed, in parts

    InputGradient(const At& at, float* d_gates, Parts& scratch)
        : p(at.p), at(at), d_gates(d_gates), parts(divided_up(p.features, wide)),
          kernel(p.d_x || !scratch.base ? scratch.take(parts * at.panels * At::x_depth * wide) : nullptr) {}

    void prepare(int64_t id, int64_t threads) {
        pack_transposed<Cell, Cell::x_first, Cell::x_count>(
            at, p.kernel, p.features, kernel, share_of(parts, id, threads));
    }

    void run(Share entries) {
        constexpr int64_t some = 8 * TILE_ROWS;  // entries whose slots' gradients stay in the cache
        Step step{0, 0, 0};
        for (int64_t from = entries.first; from < entries.end; from += some) {
            const int64_t end = smaller(from + some, entries.end);
            step = step_of(from, step);
            for (int64_t part = 0; part < parts; ++part)
                with_number<WIDTH>(smaller(divided_up(p.features - part * wide, V), WIDTH), [&](auto vectors) {
                    for_tiles(from, end, [&](auto tall, int64_t entry) {
                        tile<tall.value, vectors.value>(part, entry, step);
                    });
                });
        }
    }

    // The step of an entry, which is not before `step`.
    INLINE Step step_of(int64_t entry, Step step) const {
        while (entry >= step.entry + at.count(step.t)) step.entry += at.count(step.t++);
        return step;
    }

    template <int Tall, int Wide>
    void tile(int64_t part, int64_t entry, Step step) {
        alignas(64) float sums[TILE_FLOATS];
        const float* packed = kernel + part * at.panels * At::x_depth * wide;
        const bool masks_apart = p.x_mask && p.x_masks > 1;
        if (masks_apart) {
            add_masked<Tall, Wide>(sums, part, entry, step, packed);
        } else {
            const Rows rows{at.gates_at(d_gates, 0, entry) + Cell::x_first * V / TOGETHER, At::panel_floats};
            const Product product{rows, packed, Runs{at.panels, At::x_depth, at.panels_apart(), At::x_depth * wide}};
            add_products<Tall, Wide, 0, Wide>(sums, Nothing{}, wide, product);
        }
        for (int r = 0; r < Tall; ++r) {
            step = step_of(entry + r, step);
            const int64_t row = entry + r - step.entry;
            float* to = p.d_x + at.source(step.t, row) * p.dx_time + at.sample(row) * p.dx_batch + part * wide;
            for (int v = 0; v < Wide; ++v) {
                const int64_t left = p.features - part * wide - v * V;
                vec d = load(sums + (r * Wide + v) * V);
                if (p.x_mask && !masks_apart) d *= load(p.x_mask + row * p.features + part * wide + v * V, left);
                store(to + v * V, d, left);
            }
        }
    }

    // Where each gate has a mask of its own.
    template <int Tall, int Wide>
    __attribute__((noinline)) void add_masked(
        float* sums, int64_t part, int64_t entry, Step step, const float* packed) {
        clear<Tall, Wide>(sums);
        for (int slot = 0; slot < Cell::x_count; ++slot) {
            alignas(64) float of_slot[TILE_FLOATS];
            clear<Tall, Wide>(of_slot);
            for (int block = 0; block < Cell::blocks; ++block) {
                constexpr int64_t depth = V / TOGETHER;
                const int64_t from = (block * Cell::slots + Cell::x_first + slot) * depth;
                const Rows rows{at.gates_at(d_gates, 0, entry) + from, At::panel_floats};
                const float* weights = packed + (block * Cell::x_count + slot) * depth * wide;
                const Product product{rows, weights, Runs{at.panels, depth, at.panels_apart(), At::x_depth * wide}};
                add_products<Tall, Wide, 0, Wide>(of_slot, Sum{}, wide, product);
            }
            const int64_t gate = Cell::gate_of(Cell::x_first + slot);
            Step here = step;
            for (int r = 0; r < Tall; ++r) {
                here = step_of(entry + r, here);
                const float* kept = p.x_mask + (gate * p.batch + entry + r - here.entry) * p.features + part * wide;
                for (int v = 0; v < Wide; ++v) {
                    const int at = (r * Wide + v) * V;
                    const vec masked = load(of_slot + at) * load(kept + v * V, p.features - part * wide - v * V);
                    store(sums + at, load(sums + at) + masked);
                }
            }
        }
    }
};

}  // namespace ostinato::OSTINATO_ISA
