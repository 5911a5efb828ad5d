// The gradients of weights and biases, from those of the slots: sums over all steps of all rows.
#pragma once

#include "pack.h"

namespace ostinato::OSTINATO_ISA {

template <class Cell>
struct WeightGradient {
    using At = Layout<Cell>;
    static constexpr int blocks = Cell::blocks;
    static constexpr int64_t CHUNK = 64;  // steps whose products are summed from zero: less error, for nothing

    const OstinatoProblem& p;
    const At& at;
    float* d_gates;
    int64_t sums_apart;
    float* sums;  // of each thread, those of its tiles in a panel

    WeightGradient(const At& at, float* d_gates, int64_t threads, Parts& scratch)
        : p(at.p), at(at), d_gates(d_gates),
          sums_apart(divided_up(larger(p.features, p.units), TILE_ROWS) * TILE_ROWS * At::panel_floats),
          sums(scratch.take(threads * sums_apart)) {}

    // What the slots' gradients are multiplied with, the inputs or the states, as runs of entries:
    // `work(entry, factors, factors_apart, count)`. masks: how far those under one mask are from those under the next.
    struct InputRuns {
        const At& at;
        int64_t masks() const { return at.x_copies() > 1 ? at.x_entries() * at.x_apart : 0; }
        template <class Work>
        INLINE void operator()(Work work) const {
            work((int64_t)0, (const float*)at.xs, at.x_apart, at.p.steps);
        }
    };

    struct StateRuns {
        const At& at;
        int64_t masks() const { return at.p.h_mask ? at.masks_apart() : 0; }
        template <class Work>
        INLINE void operator()(Work work) const {
            const OstinatoProblem& p = at.p;
            if (p.h_mask) return work((int64_t)0, (const float*)at.masked, at.h_apart, p.steps);
            work((int64_t)0, p.h0, p.units, at.count(0));
            int64_t entry = at.count(0), before = 0;
            for (int64_t t = 1; t < p.time && at.count(t) > 0;) {
                const int64_t from = before;
                int64_t entries = 0;
                do {  // the states before run on as long as each step has as many rows
                    entries += at.count(t);
                    before += at.count(t - 1);
                    ++t;
                } while (t < p.time && at.count(t) > 0 && at.count(t - 1) == at.count(t - 2));
                work(entry, (const float*)(at.hs + from * at.h_apart), at.h_apart, entries);
                entry += entries;
            }
        }
    };

    struct ResetRuns {
        const At& at;
        int64_t masks() const { return 0; }
        template <class Work>
        INLINE void operator()(Work work) const {
            work((int64_t)0, (const float*)at.reset, at.h_apart, at.p.steps);
        }
    };

    // The tiles of all matrices, nearly the same work, are dealt out; those of a thread lie in few panels.
    void run(int64_t id, int64_t threads) {
        const int64_t x_tiles = p.d_kernel || p.d_bias ? divided_up(p.features, TILE_ROWS) : 0;
        const int64_t h_tiles = p.d_recurrent || p.d_recurrent_bias ? divided_up(p.units, TILE_ROWS) : 0;
        const int64_t late_tiles = Cell::resets ? h_tiles : 0, tiles = x_tiles + h_tiles + late_tiles;
        if (tiles == 0) return;
        const Share mine = share_of(at.panels * tiles, id, threads);
        float* own = sums + id * sums_apart;
        for (int64_t panel = mine.first / tiles; panel * tiles < mine.end; ++panel) {
            const int64_t zero = panel * tiles;
            const auto within = [&](int64_t first, int64_t count) {
                return Share{smaller(larger(mine.first - zero - first, 0), count),
                             smaller(larger(mine.end - zero - first, 0), count)};
            };
            of_panel<Cell::x_first, Cell::x_count>(
                panel, within(0, x_tiles), own, p.features, p.d_kernel, p.d_bias, InputRuns{at});
            of_panel<Cell::h_first, Cell::h_count>(
                panel, within(x_tiles, h_tiles), own, p.units, p.d_recurrent, p.d_recurrent_bias, StateRuns{at});
            if constexpr (Cell::resets)
                of_panel<0, 1>(panel, within(x_tiles + h_tiles, late_tiles), own, p.units, p.d_recurrent, nullptr,
                               ResetRuns{at});
        }
    }

    template <int First, int Count, class Runs>
    void of_panel(int64_t panel, Share tiles, float* own, int64_t rows, float* d_weights, float* d_bias, Runs runs) {
        constexpr int count = Count * blocks;
        constexpr int64_t tile_floats = TILE_ROWS * count * V;
        if (tiles.first >= tiles.end) return;
        vec bias[count] = {};
        const bool sums_bias = d_bias && tiles.first == 0;
        for (int64_t i = 0; i < (tiles.end - tiles.first) * tile_floats; i += V) store(own + i, vec{});
        runs([&](int64_t entry, const float* factors, int64_t apart, int64_t entries) {
            for (int64_t k = 0; k < entries; k += CHUNK) {
                const int64_t depth = smaller(CHUNK, entries - k);
                const float* d = at.gates_at(d_gates, panel, entry + k) + First * V;
                if (d_weights)
                    for (int64_t tile = tiles.first; tile < tiles.end; ++tile) {
                        const int64_t row = tile * TILE_ROWS;
                        float* to = own + (tile - tiles.first) * tile_floats;
                        with_number<TILE_ROWS>(smaller(TILE_ROWS, rows - row), [&](auto tall) {
                            chunk<tall.value, count>(Columns{factors + k * apart + row, apart}, runs.masks(), d, depth, to);
                        });
                    }
                if (sums_bias) add_rows(bias, d, depth);
            }
        });
        for (int v = 0; v < count; ++v) {
            const int64_t unit = panel * At::panel_units + v / Count * V, left = at.units_from(unit);
            if (left <= 0) continue;
            const int64_t column = Cell::gate_of(First + v % Count) * p.units + unit;
            if (sums_bias) store(d_bias + column, bias[v], left);
            if (!d_weights) continue;
            for (int64_t row = tiles.first * TILE_ROWS; row < smaller(tiles.end * TILE_ROWS, rows); ++row)
                store(d_weights + row * Cell::gates * p.units + column,
                      load(own + ((row - tiles.first * TILE_ROWS) * count + v) * V), left);
        }
    }

    template <int Tall, int Count>
    INLINE void chunk(Columns factors, int64_t masks_apart, const float* d, int64_t depth, float* to) {
        if (!masks_apart)
            return add_products<Tall, Count, 0, Count>(to, factors, d, At::panel_floats, one_run(depth));
        const Apart<Columns, blocks> apart{factors, masks_apart};
        add_products<Tall, Count, 0, Count>(to, apart, d, At::panel_floats, one_run(depth));
    }

    template <int Count>
    static void add_rows(vec (&total)[Count], const float* d, int64_t depth) {
        vec part[Count] = {};
        for (int64_t i = 0; i < depth; ++i)
            for (int v = 0; v < Count; ++v) part[v] += load(d + i * At::panel_floats + v * V);
        for (int v = 0; v < Count; ++v) total[v] += part[v];
    }
};

}  // namespace ostinato::OSTINATO_ISA
