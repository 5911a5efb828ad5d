// A recurrence forwards.
//
// A thread takes some of the rows through all steps, so that threads wait for one another once, when the weights are
// packed. Of batches too small for that it takes some of the units, and waits at each step.
#pragma once

#include "cells.h"
#include "projection.h"

namespace ostinato::OSTINATO_ISA {

template <class Cell, class Equation>
struct Forward {
    using At = Layout<Cell>;
    static constexpr int blocks = Cell::blocks;

    const OstinatoProblem& p;
    Equation equation;
    At at;
    Projection<Cell> projection;
    float* recurrent;
    float* resets;  // gates of the latest step, [panel][row][slot][V], where no gates are kept

    Forward(const OstinatoProblem& p, Equation equation, Parts& saved, Parts& scratch)
        : p(p), equation(equation), at(p, saved), projection(at, scratch) {
        recurrent = scratch.take(at.panels * at.h_places * (At::h_floats + (Cell::resets ? At::panel_units : 0)));
        resets = Cell::resets && !p.training ? scratch.take(at.panels * p.batch * At::panel_floats) : nullptr;
    }

    void run() {
        Meeting meeting;
        parallel(threads_for<Cell>(p), [&](int64_t id, int64_t threads) {
            prepare(id, threads);
            meeting.wait(id, threads);
            if (at.projected) {
                projection.project(share_of(p.steps, id, threads));
                meeting.wait(id, threads);
            }
            if (at.by_units)
                steps({0, p.batch}, share_of(at.panels, id, threads), [&] { meeting.wait(id, threads); }, id == 0);
            else
                steps(rows_of(at, id, threads), {0, at.panels}, [] {}, true);
        });
    }

    void prepare(int64_t id, int64_t threads) {
        const Share panels = share_of(at.panels, id, threads), rows = share_of(p.batch, id, threads);
        projection.prepare(id, threads);
        pack<Cell, Cell::h_first, Cell::h_count>(at, p.recurrent, p.units, recurrent, panels);
        if constexpr (Cell::resets) pack<Cell, 0, 1>(at, p.recurrent, p.units, candidate(0), panels);
        if (TOGETHER > 1 && at.factors)
            for (int64_t row = rows.first; row < rows.end; ++row)
                for (int64_t unit = 0; unit < p.units; unit += V) {
                    const int64_t left = at.units_from(unit);
                    store_places(at.factors + row * at.factors_apart + unit / TOGETHER,
                                 load(p.h0 + row * p.units + unit, left), left);
                }
        if (Cell::states == 2)
            for (int64_t row = rows.first; row < rows.end; ++row)
                for (int64_t unit = 0; unit < at.padded_units; unit += V)
                    store(at.cells + row * at.padded_units + unit,
                          load(p.c0 + row * p.units + unit, larger(at.units_from(unit), 0)));
    }

    float* candidate(int64_t panel) const {
        return recurrent + at.h_places * (at.panels * At::h_floats + panel * At::panel_units);
    }

    template <class Wait>
    void steps(Share rows, Share panels, Wait wait, bool finishes) {
        if (finishes) finish_without_step(rows);
        Step step{0, 0, 0};
        for (; step.t < p.time; ++step.t) {
            const int64_t count = at.count(step.t), end = smaller(rows.end, count);
            if (end <= rows.first) return;
            if (!at.projected)
                for (int64_t row = rows.first; row < end; ++row) projection.copy_input(step.t, step.entry + row, row);
            if (p.h_mask)
                for (int64_t row = rows.first; row < end; ++row) drop(step, row);
            for (int64_t panel = panels.first; panel < panels.end; ++panel)
                for_tiles(rows.first, end, [&](auto tall, int64_t row) { first_slots<tall.value>(panel, step, row); });
            if constexpr (Cell::resets)
                for (int64_t panel = panels.first; panel < panels.end; ++panel)
                    for_tiles(rows.first, end,
                              [&](auto tall, int64_t row) { late_slot<tall.value>(panel, step, row); });
            wait();
            const int64_t lasting = step.t + 1 < p.time ? at.count(step.t + 1) : 0;
            if (finishes)
                for (int64_t row = larger(rows.first, lasting); row < end; ++row) finish(step, row);
            step.before = step.entry;
            step.entry += count;
        }
    }

    // All slots of a tile, but a candidate that waits for the others.
    template <int Tall>
    void first_slots(int64_t panel, Step step, int64_t row) {
        constexpr int first = Cell::h_first * blocks, count = Cell::h_count * blocks;
        alignas(64) float own[TILE_FLOATS];
        const float* weights = recurrent + panel * at.h_places * At::h_floats;
        const Runs runs = one_run(at.h_places);
        const Product product{States<Cell>(at, step, row).factors_before(at), weights, runs};
        if constexpr (count == At::width)
            if (at.shallow) {  // states first: their products are the smaller ones, and round less by themselves
                const Rows x{at.x_at(step.entry + row, row), at.x_apart};
                const Product of_x{x, projection.weights_of(panel), one_run(at.x_places)};
                const Bias bias = projection.bias_of(panel);
                add_product<Tall, At::width, 0, count, false>(own, bias, At::h_floats, product, of_x);
                return finish_first<Tall>(own, panel, step, row);
            }
        float* sums = begin<Tall>(own, panel, step, row);
        if (p.h_mask) {
            const Apart<Rows, blocks> masked{{at.masked_at(step.entry + row, row), at.factors_apart}, at.masks_apart()};
            add_products<Tall, At::width, first, count>(sums, Sum{}, At::h_floats, Product{masked, weights, runs});
        } else {
            add_products<Tall, At::width, first, count>(sums, Sum{}, At::h_floats, product, at.few);
        }
        finish_first<Tall>(sums, panel, step, row);
    }

    template <int Tall>
    void late_slot(int64_t panel, Step step, int64_t row) {
        alignas(64) float own[TILE_FLOATS];
        float* sums = begin<Tall>(own, panel, step, row);
        const Rows rows{at.reset_at(step.entry + row, row), at.factors_apart};
        const Product product{rows, candidate(panel), one_run(at.h_places)};
        add_products<Tall, At::width, 0, 1>(sums, Sum{}, At::panel_units, product, at.few);
        each_vector<Tall>(panel, step, row, [&](int r, int, int64_t unit, const Place& place) {
            const vec candidate = load(sums + r * At::panel_floats);
            finish_vector(step, row + r, unit, equation.forward(&candidate, place), place);
        });
    }

    // Where the sums of a tile are, with the input's part: in `own`, or where they were computed before.
    template <int Tall>
    INLINE float* begin(float* own, int64_t panel, Step step, int64_t row) {
        if (at.projected) return at.gates_at(projection.all, panel, step.entry + row);
        projection.template begin<Tall>(own, panel, at.x_at(step.entry + row, row));
        return own;
    }

    // From the sums of a tile to its new states.
    template <int Tall>
    INLINE void finish_first(const float* sums, int64_t panel, Step step, int64_t row) {
        each_vector<Tall>(panel, step, row, [&](int r, int block, int64_t unit, const Place& place) {
            vec slots[Cell::slots];
#pragma GCC unroll 8
            for (int slot = 0; slot < Cell::slots; ++slot)
                slots[slot] = load(sums + r * At::panel_floats + (block * Cell::slots + slot) * V);
            if constexpr (Cell::resets) {
                vec reset = equation.reset(slots, place);
                if (p.h_mask) reset *= load(p.h_mask + (2 * p.batch + row + r) * p.units + unit, place.left);
                store_places(at.reset_at(step.entry + row + r, row + r) + unit / TOGETHER, reset, place.left);
            } else {
                finish_vector(step, row + r, unit, equation.forward(slots, place), place);
            }
        });
    }

    // Call `work(r, block, unit, place)` for each vector of units of a tile. Few instructions go into finding one place
    // after the other, so that the processor sees several at once.
    template <int Tall, class Work>
    INLINE void each_vector(int64_t panel, Step step, int64_t row, Work work) {
        const States<Cell> states(at, step, row);
        float* gates = nullptr;
        if (at.gates) gates = at.gates_at(at.gates, panel, step.entry + row);
        if (resets) gates = resets + (panel * p.batch + row) * At::panel_floats;
        const int64_t c_apart = Cell::states == 2 ? at.padded_units : 0, gates_apart = gates ? At::panel_floats : 0;
        const int64_t factors_apart = at.factors ? at.factors_apart : 0;
        for (int block = 0; block < blocks; ++block) {
            const int64_t unit = (panel * blocks + block) * V, left = at.units_from(unit);
            if (left <= 0) break;
            Place place = states.place(unit, left);
            if (gates) place.gates = gates + block * Cell::slots * V;
            for (int r = 0; r < Tall; ++r) {
                work(r, block, unit, place);
                place.h_before += states.h_before_apart;
                place.h += at.h_apart;
                place.c_before += c_apart;
                place.c += c_apart;
                place.gates += gates_apart;
                if (TOGETHER > 1) place.factors += factors_apart;
            }
        }
    }

    INLINE void finish_vector(Step step, int64_t row, int64_t unit, vec h, const Place& place) {
        store(place.h, h, place.left);
        if (TOGETHER > 1 && place.factors) store_places(place.factors, h, place.left);
        if (p.outputs) store(p.outputs + step.t * p.y_time + at.sample(row) * p.y_batch + unit, h, place.left);
    }

    // The states of a row before a step, times their dropout masks.
    void drop(Step step, int64_t row) {
        const float* h = States<Cell>(at, step, row).h_before;
        for (int gate = 0; gate < Cell::gates; ++gate)
            for (int64_t unit = 0; unit < p.units; unit += V) {
                const int64_t left = at.units_from(unit);
                const vec kept = load(p.h_mask + (gate * p.batch + row) * p.units + unit, left);
                store_places(at.masked_at(step.entry + row, row) + gate * at.masks_apart() + unit / TOGETHER,
                             load(h + unit, left) * kept, left);
            }
    }

    // -- the end of a row --------------------------------------------------------------------------------------------

    void finish(Step step, int64_t row) {
        const States<Cell> states(at, step, row);
        for (int64_t unit = 0; unit < p.units; unit += V) {
            const int64_t left = at.units_from(unit), to = row * p.units + unit;
            const vec h = load(states.h + unit, left);
            store(p.h_n + to, h, left);
            store(p.last + to, h, left);
            if (Cell::states == 2) store(p.c_n + to, load(states.c + unit), left);
        }
    }

    // It keeps its state.
    void finish_without_step(Share rows) {
        const int64_t with_step = p.time > 0 ? at.count(0) : 0;
        for (int64_t i = larger(rows.first, with_step) * p.units; i < rows.end * p.units; ++i) {
            p.h_n[i] = p.h0[i];
            p.last[i] = 0.0f;
            if (Cell::states == 2) p.c_n[i] = p.c0[i];
        }
    }
};

}  // namespace ostinato::OSTINATO_ISA
