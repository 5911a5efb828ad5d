// The input's part of the sums: the only one that needs no state.
#pragma once

#include "pack.h"

namespace ostinato::OSTINATO_ISA {

template <class Cell>
struct Projection {
    using At = Layout<Cell>;

    const OstinatoProblem& p;
    const At& at;
    float *kernel, *bias;
    float* all;  // of all entries, as gates, if they are computed first

    Projection(const At& at, Parts& scratch) : p(at.p), at(at) {
        kernel = scratch.take(at.panels * at.x_places * At::x_floats);
        bias = scratch.take(at.panels * At::panel_floats);
        all = nullptr;
        if (at.projected) all = at.gates ? at.gates : scratch.take(at.panels * p.steps * At::panel_floats);
    }

    void prepare(int64_t id, int64_t threads) {
        pack<Cell, Cell::x_first, Cell::x_count>(at, p.kernel, p.features, kernel, share_of(at.panels, id, threads));
        if (id == 0) pack_bias(at, bias);
        if (!at.projected) return;
        const Share rows = share_of(p.batch, id, threads);
        for (int64_t t = 0, entry = 0; t < p.time; entry += at.count(t), ++t)
            for (int64_t row = rows.first; row < smaller(rows.end, at.count(t)); ++row) copy_input(t, entry + row, row);
    }

    // The input of a row's step, times its dropout masks, to where the microkernel reads it.
    void copy_input(int64_t t, int64_t entry, int64_t row) {
        const float* from = p.x + at.source(t, row) * p.x_time + at.sample(row) * p.x_batch;
        for (int64_t copy = 0; copy < at.x_copies(); ++copy) {
            float* to = at.x_at(entry, row) + copy * at.x_entries() * at.x_apart;
            const int64_t mask = p.x_masks > 1 ? Cell::gate_of(Cell::x_first + (int)copy) : 0;
            const float* kept = p.x_mask ? p.x_mask + (mask * p.batch + row) * p.features : nullptr;
            for (int64_t k = 0; k < p.features; k += V) {
                const int64_t left = smaller(p.features - k, V);
                const vec x = load_apart(from + k * p.x_feature, p.x_feature, left);
                store_places(to + k / TOGETHER, kept ? x * load(kept + k, left) : x, left);
            }
        }
    }

    void project(Share entries) {
        for (int64_t panel = 0; panel < at.panels; ++panel)
            for_tiles(entries.first, entries.end, [&](auto tall, int64_t entry) {
                begin<tall.value>(at.gates_at(all, panel, entry), panel, at.xs + entry * at.x_apart);
            });
    }

    // The sums of rows whose inputs are at `x`.
    template <int Tall>
    INLINE void begin(float* sums, int64_t panel, const float* x) const {
        constexpr int first = Cell::x_first * Cell::blocks, count = Cell::x_count * Cell::blocks;
        static_assert(first == 0, "slots to which the input adds nothing come last");
        const Bias start = bias_of(panel);
        for (int v = count; v < At::width; ++v)
            for (int r = 0; r < Tall; ++r) store(sums + (r * At::width + v) * V, start(nullptr, v));
        const auto add = [&](auto factor) {
            const Product product{factor, weights_of(panel), one_run(at.x_places)};
            add_products<Tall, At::width, first, count>(sums, start, At::x_floats, product);
        };
        const Rows rows{x, at.x_apart};
        if (at.x_copies() == 1)
            add(rows);
        else
            add(Apart<Rows, Cell::blocks>{rows, at.x_entries() * at.x_apart});
    }

    INLINE Bias bias_of(int64_t panel) const { return {bias + panel * At::panel_floats}; }
    INLINE const float* weights_of(int64_t panel) const { return kernel + panel * at.x_places * At::x_floats; }
};

}  // namespace ostinato::OSTINATO_ISA
