// The gradients of weights and biases, from those of the slots: sums over all steps of all rows.
//
// The depth of these products are entries. Where a place holds two numbers, those of two entries are put together: of
// the factors once, before anything else, and of the slots' gradients for each chunk.
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
    float* sums;                             // of each thread, those of its tiles in a panel
    float *x_pairs, *h_pairs, *reset_pairs;  // factors of two entries each, for each mask; null where none are made
    float* d_pairs;                          // of each thread, the slots' gradients of a chunk

    WeightGradient(const At& at, float* d_gates, int64_t threads, Parts& scratch)
        : p(at.p), at(at), d_gates(d_gates),
          sums_apart(divided_up(larger(p.features, p.units), TILE_ROWS) * TILE_ROWS * At::panel_floats),
          sums(scratch.take(threads * sums_apart)),
          x_pairs(TOGETHER > 1 ? scratch.take(at.x_copies() * pairs_apart(p.features)) : nullptr),
          h_pairs(TOGETHER > 1 ? scratch.take((p.h_mask ? Cell::gates : 1) * pairs_apart(p.units)) : nullptr),
          reset_pairs(TOGETHER > 1 && Cell::resets ? scratch.take(pairs_apart(p.units)) : nullptr),
          d_pairs(TOGETHER > 1 ? scratch.take(threads * places(CHUNK) * At::panel_floats) : nullptr) {}

    INLINE int64_t pairs_apart(int64_t width) const { return places(p.steps) * apart(width); }

    void prepare(int64_t id, int64_t threads) {
        if (TOGETHER == 1) return;
        const Share mine = share_of(places(p.steps), id, threads);
        const auto rows_of = [&](const float* rows, int64_t rows_apart) {
            return [rows, rows_apart](int64_t entry) { return rows + entry * rows_apart; };
        };
        if (p.d_kernel)
            for (int64_t copy = 0; copy < at.x_copies(); ++copy)
                pair(mine, p.features, x_pairs + copy * pairs_apart(p.features),
                     rows_of(at.xs + copy * at.x_entries() * at.x_apart, at.x_apart));
        if (!p.d_recurrent) return;
        if (Cell::resets) pair(mine, p.units, reset_pairs, rows_of(at.reset, at.factors_apart));
        if (p.h_mask)
            for (int64_t gate = 0; gate < Cell::gates; ++gate)
                pair(mine, p.units, h_pairs + gate * pairs_apart(p.units),
                     rows_of(at.masked + gate * at.masks_apart(), at.factors_apart));
        else
            pair_states(mine);
    }

    // The states before; the factors of the initial ones come first.
    void pair_states(Share mine) {
        Step step{0, 0, 0};
        pair(mine, p.units, h_pairs, [&](int64_t entry) {
            while (entry >= step.entry + at.count(step.t)) {
                step.before = p.batch + step.entry;
                step.entry += at.count(step.t++);
            }
            return at.factors + (step.before + entry - step.entry) * at.factors_apart;
        });
    }

    // The numbers of two rows together, where `row(entry)` is that of an entry.
    template <class RowOf>
    void pair(Share mine, int64_t width, float* to, RowOf row) {
        if constexpr (TOGETHER > 1)
            for (int64_t i = mine.first; i < mine.end; ++i) {
                const float* even = row(2 * i);
                const float* odd = 2 * i + 1 < p.steps ? row(2 * i + 1) : nullptr;
                for (int64_t k = 0; k < width; k += V)
                    store(to + i * apart(width) + k,
                          together_at(even + k / TOGETHER, odd ? odd + k / TOGETHER : nullptr));
            }
    }

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
            if (p.h_mask) return work((int64_t)0, (const float*)at.masked, at.factors_apart, p.steps);
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
            work((int64_t)0, (const float*)at.reset, at.factors_apart, at.p.steps);
        }
    };

    struct PairRuns {
        const float* pairs;
        int64_t pairs_apart, masks_apart, entries;
        int64_t masks() const { return masks_apart; }
        template <class Work>
        INLINE void operator()(Work work) const {
            work((int64_t)0, pairs, pairs_apart, entries);
        }
    };

    // Those of a matrix: as they lie in memory, or in pairs.
    template <class Runs>
    INLINE auto runs_of(Runs runs, const float* pairs, int64_t width) const {
        if constexpr (TOGETHER > 1)
            return PairRuns{pairs, apart(width), runs.masks() ? pairs_apart(width) : 0, p.steps};
        else
            return runs;
    }

    // The tiles of all matrices, nearly the same work, are dealt out; those of a thread lie in few panels.
    void run(int64_t id, int64_t threads) {
        const int64_t x_tiles = p.d_kernel || p.d_bias ? divided_up(p.features, TILE_ROWS) : 0;
        const int64_t h_tiles = p.d_recurrent || p.d_recurrent_bias ? divided_up(p.units, TILE_ROWS) : 0;
        const int64_t late_tiles = Cell::resets ? h_tiles : 0, tiles = x_tiles + h_tiles + late_tiles;
        if (tiles == 0) return;
        const Share mine = share_of(at.panels * tiles, id, threads);
        for (int64_t panel = mine.first / tiles; panel * tiles < mine.end; ++panel) {
            const int64_t zero = panel * tiles;
            const auto within = [&](int64_t first, int64_t count) {
                return Share{smaller(larger(mine.first - zero - first, 0), count),
                             smaller(larger(mine.end - zero - first, 0), count)};
            };
            of_panel<Cell::x_first, Cell::x_count>(panel, within(0, x_tiles), id, p.features, p.d_kernel, p.d_bias,
                                                   runs_of(InputRuns{at}, x_pairs, p.features));
            of_panel<Cell::h_first, Cell::h_count>(panel, within(x_tiles, h_tiles), id, p.units, p.d_recurrent,
                                                   p.d_recurrent_bias, runs_of(StateRuns{at}, h_pairs, p.units));
            if constexpr (Cell::resets)
                of_panel<0, 1>(panel, within(x_tiles + h_tiles, late_tiles), id, p.units, p.d_recurrent, nullptr,
                               runs_of(ResetRuns{at}, reset_pairs, p.units));
        }
    }

    template <int First, int Count, class Runs>
    void of_panel(int64_t panel, Share tiles, int64_t id, int64_t rows, float* d_weights, float* d_bias, Runs runs) {
        constexpr int count = Count * blocks;
        constexpr int64_t d_apart = TOGETHER > 1 ? count * V : At::panel_floats;
        constexpr int64_t tile_floats = TILE_ROWS * count * V;
        float* own = sums + id * sums_apart;
        if (tiles.first >= tiles.end) return;
        vec bias[count] = {};
        const bool sums_bias = d_bias && tiles.first == 0;
        for (int64_t i = 0; i < (tiles.end - tiles.first) * tile_floats; i += V) store(own + i, vec{});
        runs([&](int64_t entry, const float* factors, int64_t apart, int64_t entries) {
            for (int64_t k = 0; k < entries; k += CHUNK) {
                const int64_t depth = smaller(CHUNK, entries - k);
                const float* d = at.gates_at(d_gates, panel, entry + k) + First * V / TOGETHER;
                if constexpr (TOGETHER > 1)
                    d = pair_gradients<count>(d, depth, d_pairs + id * places(CHUNK) * At::panel_floats);
                if (d_weights)
                    for (int64_t tile = tiles.first; tile < tiles.end; ++tile) {
                        const int64_t row = tile * TILE_ROWS;
                        float* to = own + (tile - tiles.first) * tile_floats;
                        with_number<TILE_ROWS>(smaller(TILE_ROWS, rows - row), [&](auto tall) {
                            chunk<tall.value, count, d_apart>(Columns{factors + k / TOGETHER * apart + row, apart},
                                                              runs.masks(), d, places(depth), to);
                        });
                    }
                if (sums_bias) add_rows<d_apart>(bias, d, places(depth));
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

    // Of so many entries, two together.
    template <int Count>
    static const float* pair_gradients(const float* d, int64_t entries, float* pairs) {
        for (int64_t i = 0; i < entries; i += TOGETHER)
            for (int v = 0; v < Count; ++v) {
                const float* even = d + i * At::panel_floats + v * V / TOGETHER;
                const float* odd = i + 1 < entries ? even + At::panel_floats : nullptr;
                store(pairs + (i / TOGETHER * Count + v) * V, together_at(even, odd));
            }
        return pairs;
    }

    template <int Tall, int Count, int64_t DApart>
    INLINE void chunk(Columns factors, int64_t masks_apart, const float* d, int64_t depth, float* to) {
        const auto add = [&](auto factor) {
            add_products<Tall, Count, 0, Count>(to, Sum{}, DApart, Product{factor, d, one_run(depth)});
        };
        if (masks_apart)
            add(Apart<Columns, blocks>{factors, masks_apart});
        else
            add(factors);
    }

    template <int64_t DApart, int Count>
    static void add_rows(vec (&total)[Count], const float* d, int64_t depth) {
        vec part[Count] = {};
        for (int64_t i = 0; i < depth; ++i)
            for (int v = 0; v < Count; ++v) part[v] = plus_places(part[v], load(d + i * DApart + v * V));
        for (int v = 0; v < Count; ++v) total[v] += part[v];
    }
};

}  // namespace ostinato::OSTINATO_ISA
