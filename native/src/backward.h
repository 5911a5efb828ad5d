// A recurrence backwards: through the steps, from the last to the first, to the gradients of all slots and of the
// initial state. Threads share the work as they do forwards.
#pragma once

#include "cells.h"
#include "input_gradient.h"
#include "weight_gradient.h"

namespace ostinato::OSTINATO_ISA {

template <class Cell, class Equation>
struct Backward {
    using At = Layout<Cell>;
    static constexpr int blocks = Cell::blocks, wide = WIDTH * V;

    const OstinatoProblem& p;
    Equation equation;
    At at;
    int64_t threads, parts;  // parts: of the units, a tile's width each
    float *recurrent, *candidate;  // transposed, in parts
    float* d_gates;       // as gates, in places
    float *carried, *dc;  // (batch, padded units): what goes to the h before past the slots; to the c before
    InputGradient<Cell> inputs;
    WeightGradient<Cell> weights;

    Backward(const OstinatoProblem& p, Equation equation, Parts& saved, Parts& scratch)
        : p(p), equation(equation), at(p, saved), threads(threads_for<Cell>(p)), parts(divided_up(p.units, wide)),
          recurrent(scratch.take(parts * at.panels * At::h_depth * wide)),
          candidate(Cell::resets ? scratch.take(parts * at.panels * At::panel_units / TOGETHER * wide) : nullptr),
          d_gates(p.keep || !Cell::keeps_gates ? scratch.take(at.panels * p.steps * At::panel_floats) : at.gates),
          carried(scratch.take(p.batch * at.padded_units)),
          dc(Cell::states == 2 ? scratch.take(p.batch * at.padded_units) : nullptr),
          inputs(at, d_gates, scratch), weights(at, d_gates, threads, scratch) {}

    void run() {
        Meeting meeting;
        parallel(threads, [&](int64_t id, int64_t team) {
            prepare(id, team);
            meeting.wait(id, team);
            if (at.by_units)
                steps({0, p.batch}, share_of(parts, id, team), [&] { meeting.wait(id, team); });
            else
                steps(rows_of(at, id, team), {0, parts}, [] {});
            meeting.wait(id, team);
            if (p.d_x) inputs.run(share_of(p.steps, id, team));
            weights.run(id, team);
        });
    }

    void prepare(int64_t id, int64_t team) {
        const Share mine = share_of(parts, id, team), rows = share_of(p.batch, id, team);
        pack_transposed<Cell, Cell::h_first, Cell::h_count>(at, p.recurrent, p.units, recurrent, mine);
        if constexpr (Cell::resets) pack_transposed<Cell, 0, 1>(at, p.recurrent, p.units, candidate, mine);
        if (p.d_x) inputs.prepare(id, team);
        weights.prepare(id, team);
        for (int64_t row = rows.first; row < rows.end; ++row)
            for (int64_t unit = 0; unit < at.padded_units; unit += V) {
                const int64_t left = larger(at.units_from(unit), 0), from = row * p.units + unit;
                store(carried + row * at.padded_units + unit, p.d_h ? load(p.d_h + from, left) : vec{});
                if (dc) store(dc + row * at.padded_units + unit, p.d_c ? load(p.d_c + from, left) : vec{});
            }
    }

    template <class Wait>
    void steps(Share rows, Share mine, Wait wait) {
        int64_t after = 0, entry_after = p.steps;  // how many rows have the step after, and its first entry
        for (int64_t t = p.time - 1; t >= 0; --t) {
            const int64_t count = at.count(t), entry = entry_after - count;
            const Step step{t, entry, t ? entry - at.count(t - 1) : 0};
            const int64_t lasting = smaller(rows.end, after), end = smaller(rows.end, count);
            for (int64_t part = mine.first; part < mine.end; ++part) {
                for_tiles(rows.first, lasting, [&](auto tall, int64_t row) {
                    alignas(64) float sums[TILE_FLOATS];
                    through_slots<tall.value>(sums, part, entry_after, row);
                    for (int r = 0; r < tall.value; ++r) points<false>(sums + r * wide, part, step, row + r);
                });
                for (int64_t row = larger(rows.first, after); row < end; ++row) points<true>(nullptr, part, step, row);
            }
            if constexpr (Cell::resets)
                for (int64_t part = mine.first; part < mine.end; ++part)
                    for_tiles(rows.first, end,
                              [&](auto tall, int64_t row) { through_reset<tall.value>(part, step, row); });
            wait();
            after = count;
            entry_after = entry;
        }
        if (!p.d_h0 && !p.d_c0) return;
        for (int64_t part = mine.first; part < mine.end; ++part) {
            for_tiles(rows.first, smaller(rows.end, after),
                      [&](auto tall, int64_t row) { initial<tall.value>(part, row); });
            for (int64_t row = larger(rows.first, after); row < rows.end; ++row) initial_without_step(part, row);
        }
    }

    // Of the gradient of h what comes through the slots of the step after, whose first entry is given.
    template <int Tall>
    INLINE void through_slots(float* sums, int64_t part, int64_t entry, int64_t row) {
        if (p.h_mask) return through_masked_slots<Tall>(sums, part, entry, row);
        const float* packed = recurrent + part * at.panels * At::h_depth * wide;
        over_panels<Tall, At::h_depth>(sums, packed, entry + row, Cell::h_first * V / TOGETHER);
    }

    // Products with the gradients of slots, `Depth` places from `from` on, of all panels.
    template <int Tall, int64_t Depth>
    INLINE void over_panels(float* sums, const float* packed, int64_t entry, int64_t from) {
        const Rows rows{at.gates_at(d_gates, 0, entry) + from, At::panel_floats};
        const Product product{rows, packed, Runs{at.panels, Depth, at.panels_apart(), Depth * wide}};
        add_products<Tall, WIDTH, 0, WIDTH>(sums, Nothing{}, wide, product, at.few);
    }

    template <int Tall>
    __attribute__((noinline)) void through_masked_slots(float* sums, int64_t part, int64_t entry, int64_t row) {
        const float* packed = recurrent + part * at.panels * At::h_depth * wide;
        clear<Tall, WIDTH>(sums);
        for (int slot = 0; slot < Cell::h_count; ++slot) {
            alignas(64) float of_slot[TILE_FLOATS];
            clear<Tall, WIDTH>(of_slot);
            for (int block = 0; block < blocks; ++block) {
                constexpr int64_t depth = V / TOGETHER;
                const int64_t from = (block * Cell::slots + Cell::h_first + slot) * depth;
                const Rows rows{at.gates_at(d_gates, 0, entry + row) + from, At::panel_floats};
                const float* weights = packed + (block * Cell::h_count + slot) * depth * wide;
                const Product product{rows, weights, Runs{at.panels, depth, at.panels_apart(), At::h_depth * wide}};
                add_products<Tall, WIDTH, 0, WIDTH>(of_slot, Sum{}, wide, product);
            }
            const int64_t gate = Cell::gate_of(Cell::h_first + slot);
            for (int r = 0; r < Tall; ++r)
                for (int v = 0; v < WIDTH; ++v) {
                    const int at = (r * WIDTH + v) * V;
                    store(sums + at, load(sums + at) + load(of_slot + at) * mask(gate, row + r, part * wide + v * V));
                }
        }
    }

    INLINE vec mask(int64_t gate, int64_t row, int64_t unit) const {
        return load(p.h_mask + (gate * p.batch + row) * p.units + unit, larger(at.units_from(unit), 0));
    }

    // From the gradients of a row's h, as far as they come through slots, to those of the slots of a step. Where the
    // step is the row's last, the gradients are in `carried`.
    template <bool Last>
    void points(const float* sums, int64_t part, Step step, int64_t row) {
        const States<Cell> states(at, step, row);
        const float* d_outputs = p.d_outputs;
        if (d_outputs) d_outputs += step.t * p.d_time + at.sample(row) * p.d_batch;
        for (int v = 0; v < WIDTH; ++v) {
            const int64_t unit = (part * WIDTH + v) * V, left = at.units_from(unit);
            if (unit >= at.padded_units) return;
            float* to = slots(step, row, unit);
            if (left <= 0) {
                for (int slot = 0; slot < Cell::slots; ++slot) store_places(to + slot * V / TOGETHER, vec{}, V);
                continue;
            }
            const int64_t here = row * at.padded_units + unit;
            vec dh = Last ? vec{} : load(sums + v * V);
            if (Last || Cell::carries) dh += load(carried + here);
            if (d_outputs) dh += load_apart(d_outputs + unit * p.d_unit, p.d_unit, left);
            Computed d(to);
            const vec direct = equation.backward(dh, dc ? dc + here : nullptr, place(states, unit, left, to), d.at);
            if (Cell::carries) store(carried + here, direct);
            d.keep(left, 0, Cell::resets ? 2 : Cell::slots);
        }
    }

    // The gradients of the slots of a block while they are computed: where they are kept, if they are kept as floats.
    struct Computed {
        alignas(64) float beside[TOGETHER > 1 ? Cell::slots * V : 1];
        float *at, *to;
        INLINE explicit Computed(float* to) : at(TOGETHER > 1 ? beside : to), to(to) {}

        // Those of slots [first, end). Nothing may come from units that there are not; not even of infinite inputs,
        // whose product with a zero is NaN.
        INLINE void keep(int64_t left, int first, int end) {
            if (TOGETHER > 1 || left < V)
                for (int slot = first; slot < end; ++slot)
                    store_places(to + slot * V / TOGETHER, load(at + slot * V, left), V);
        }
    };

    // Through r * h, once the gradients of the candidates of all units are there.
    template <int Tall>
    void through_reset(int64_t part, Step step, int64_t row) {
        alignas(64) float sums[TILE_FLOATS];
        constexpr int64_t depth = At::panel_units / TOGETHER;
        over_panels<Tall, depth>(sums, candidate + part * at.panels * depth * wide, step.entry + row, 0);
        for (int r = 0; r < Tall; ++r) reset_points(sums + r * wide, part, step, row + r);
    }

    void reset_points(const float* sums, int64_t part, Step step, int64_t row) {
        const States<Cell> states(at, step, row);
        for (int v = 0; v < WIDTH; ++v) {
            const int64_t unit = (part * WIDTH + v) * V, left = at.units_from(unit);
            if (left <= 0) return;
            vec d = load(sums + v * V);
            if (p.h_mask) d *= mask(2, row, unit);
            float *past = carried + row * at.padded_units + unit, *to = slots(step, row, unit);
            Computed slot(to);
            if constexpr (Cell::resets)
                store(past, load(past) + equation.reset_backward(d, place(states, unit, left, to), slot.at));
            slot.keep(left, 2, 3);
        }
    }

    INLINE float* slots(Step step, int64_t row, int64_t unit) const {
        const int64_t vector = unit / V;
        return at.gates_at(d_gates, vector / blocks, step.entry + row) + vector % blocks * Cell::slots * V / TOGETHER;
    }

    // `to`: where the slots' gradients go.
    INLINE Place place(const States<Cell>& states, int64_t unit, int64_t left, const float* to) const {
        static_assert(!Cell::keeps_gates || blocks == 1);  // so that both are as far from the first
        Place found = states.place(unit, left);
        if (at.gates) found.gates = at.gates + (to - d_gates);
        return found;
    }

    template <int Tall>
    void initial(int64_t part, int64_t row) {
        alignas(64) float sums[TILE_FLOATS];
        through_slots<Tall>(sums, part, 0, row);
        for (int r = 0; r < Tall; ++r)
            for (int v = 0; v < WIDTH; ++v) {
                const int64_t unit = part * wide + v * V, left = at.units_from(unit);
                const int64_t from = (row + r) * at.padded_units + unit, to = (row + r) * p.units + unit;
                if (left <= 0) break;
                const vec d = load(sums + (r * WIDTH + v) * V);
                if (p.d_h0) store(p.d_h0 + to, Cell::carries ? d + load(carried + from) : d, left);
                if (p.d_c0) store(p.d_c0 + to, load(dc + from), left);
            }
    }

    // The final state was the initial one.
    void initial_without_step(int64_t part, int64_t row) {
        for (int64_t unit = part * wide; unit < smaller((part + 1) * wide, p.units); ++unit) {
            const int64_t at = row * p.units + unit;
            if (p.d_h0) p.d_h0[at] = p.d_h ? p.d_h[at] : 0.0f;
            if (p.d_c0) p.d_c0[at] = p.d_c ? p.d_c[at] : 0.0f;
        }
    }
};

}  // namespace ostinato::OSTINATO_ISA
