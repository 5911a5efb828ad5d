// How a problem lies in memory: gates in panels, states by step, and the parts of `saved`.
//
// A row's step t is entry `first(t) + row`; rows are sorted by length, so that those with a step t are the first
// `count(t)`, and the entries of all steps lie side by side. A panel holds the gates of the units of one tile:
//
//     gates    [panel][entry][block][slot][V]       a vector for each slot of each block of V units
//     weights  [panel][depth][block][slot][V]
//
// A slot is a gate, but for the candidate of a GRU with reset_after: what comes from the input and what comes from the
// state stay apart, in a slot each. `x_first` and so on say which slots the input adds to, and which the state.
#pragma once

#include "abi.h"
#include "tile.h"

#ifdef __SANITIZE_ADDRESS__  // GCC's
#include <sanitizer/asan_interface.h>
#endif

namespace ostinato::OSTINATO_ISA {

// Slots i, f, g, o.
struct Lstm {
    static constexpr int slots = 4, blocks = 1, states = 2, gates = 4;
    static constexpr int x_first = 0, x_count = 4, h_first = 0, h_count = 4;
    static constexpr int gate_of(int slot) { return slot; }
    static constexpr bool keeps_gates = true;  // for backward; else the outputs are enough
    static constexpr bool carries = false;     // of a state's gradient, some goes to the state before past the gates
    static constexpr bool resets = false;      // the first slot waits for the others
};

// Slots: the candidate's input part, z, r, the candidate's recurrent part.
struct Gru {
    static constexpr int slots = 4, blocks = 1, states = 1, gates = 3;
    static constexpr int x_first = 0, x_count = 3, h_first = 1, h_count = 3;
    static constexpr int gate_of(int slot) { return slot == 0 || slot == 3 ? 2 : slot - 1; }
    static constexpr bool keeps_gates = true, carries = true, resets = false;
};

// Slots: the candidate, z, r. The candidate's product is with r * h.
struct GruResetBefore {
    static constexpr int slots = 3, blocks = 1, states = 1, gates = 3;
    static constexpr int x_first = 0, x_count = 3, h_first = 1, h_count = 2;
    static constexpr int gate_of(int slot) { return slot == 0 ? 2 : slot - 1; }
    static constexpr bool keeps_gates = true, carries = true, resets = true;
};

// One gate, so four blocks make a tile.
struct SimpleRnn {
    static constexpr int slots = 1, blocks = 4, states = 1, gates = 1;
    static constexpr int x_first = 0, x_count = 1, h_first = 0, h_count = 1;
    static constexpr int gate_of(int) { return 0; }
    static constexpr bool keeps_gates = false, carries = false, resets = false;
};

INLINE constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE constexpr int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// The distance of rows of so many floats: whole cache lines, and no multiple of many, for rows at such distances would
// compete for the same few places in the cache.
INLINE int64_t apart(int64_t floats) {
    const int64_t lines = divided_up(floats, 16);
    return 16 * (lines % 4 == 0 ? lines + 1 : lines);
}

// Hands out the parts of a buffer, each beginning with a cache line. Without a buffer it only counts. Under
// AddressSanitizer a part ends where it ends, for as long as the parts are in use: what lies between it and the next
// one is out of bounds.
struct Parts {
    float* base;
    int64_t used = 0;
    float* take(int64_t floats) {
        const int64_t from = used;
        used += divided_up(floats, 16) * 16 + GAP;
        if (!base) return nullptr;
#ifdef __SANITIZE_ADDRESS__
        __asan_poison_memory_region(base + from + floats, (used - from - floats) * sizeof(float));
#endif
        return base + from;
    }
#ifdef __SANITIZE_ADDRESS__
    static constexpr int64_t GAP = 64;
    ~Parts() {
        if (base) __asan_unpoison_memory_region(base, used * sizeof(float));
    }
#else
    static constexpr int64_t GAP = 0;
#endif
};

template <class Cell>
struct Layout {
    static constexpr int panel_units = Cell::blocks * V;
    static constexpr int width = Cell::slots * Cell::blocks;  // vectors in a panel
    static constexpr int panel_floats = width * V;
    static constexpr int x_floats = Cell::x_count * panel_units, h_floats = Cell::h_count * panel_units;
    static constexpr int x_depth = x_floats / TOGETHER, h_depth = h_floats / TOGETHER;  // of products backwards

    const OstinatoProblem& p;
    int64_t panels, padded_units;
    int64_t x_places, h_places;             // of a row's inputs, of its states
    int64_t x_apart, h_apart, factors_apart;  // rows of inputs as factors, of states, and of these as factors
    bool few;        // so few rows that products would wait for one another: sums are split
    bool projected;  // the input's part of all steps is computed first
    bool shallow;    // so few inputs and states that their products are summed together
    bool by_units;   // threads share the units of each step, and not the rows

    // Of `saved`. In training for each entry, else for each row of one step or two. cells is preceded by the initial
    // ones; xs and masked, the state times dropout, are one after the other for each mask; reset: r * h. factors: the
    // states in places, the initial ones first; null where hs is that.
    float *gates, *cells, *hs, *xs, *masked, *reset, *factors;

    Layout(const OstinatoProblem& problem, Parts& parts) : p(problem) {
        panels = divided_up(p.units, panel_units);
        padded_units = panels * panel_units;
        x_places = places(p.features);
        h_places = places(p.units);
        x_apart = apart(x_places);
        h_apart = apart(p.units);
        factors_apart = apart(h_places);
        few = p.batch <= 2;
        projected = p.batch < 2 * TILE_ROWS && !(p.x_mask && p.x_masks > 1);
        shallow = !projected && !p.h_mask && x_copies() == 1 && x_places + h_places <= DEEP;
        by_units = projected && panels > 1 && p.batch <= TILE_ROWS && !p.h_mask && !Cell::resets;
        const int64_t entries = p.training ? p.steps : p.batch;
        gates = p.training && Cell::keeps_gates ? parts.take(panels * p.steps * panel_floats) : nullptr;
        cells = Cell::states == 2 ? parts.take((p.batch + (p.training ? p.steps : 0)) * padded_units) : nullptr;
        hs = parts.take((p.training ? p.steps : 2 * p.batch) * h_apart);
        xs = parts.take(x_copies() * x_entries() * x_apart);
        masked = p.h_mask ? parts.take(Cell::gates * entries * factors_apart) : nullptr;
        reset = Cell::resets ? parts.take(entries * factors_apart) : nullptr;
        const bool multiplied = TOGETHER > 1 && !p.h_mask;
        factors = multiplied ? parts.take((p.batch + (p.training ? p.steps : 2 * p.batch)) * factors_apart) : nullptr;
    }

    INLINE int64_t count(int64_t t) const { return p.counts ? p.counts[t] : p.batch; }
    INLINE int64_t length(int64_t row) const { return p.lengths ? p.lengths[row] : p.time; }
    INLINE int64_t sample(int64_t row) const { return p.order ? p.order[row] : row; }
    INLINE int64_t units_from(int64_t unit) const { return p.units - unit; }
    INLINE int64_t source(int64_t t, int64_t row) const { return p.reverse ? length(row) - 1 - t : t; }

    INLINE int64_t x_copies() const { return p.x_mask ? p.x_masks : 1; }
    INLINE int64_t x_entries() const { return p.training || projected ? p.steps : p.batch; }

    // Where things of a row are, whose entry that is.
    INLINE float* x_at(int64_t entry, int64_t row) const {
        return xs + (p.training || projected ? entry : row) * x_apart;
    }
    INLINE float* masked_at(int64_t entry, int64_t row) const {
        return masked + (p.training ? entry : row) * factors_apart;
    }
    INLINE float* reset_at(int64_t entry, int64_t row) const {
        return reset + (p.training ? entry : row) * factors_apart;
    }
    INLINE int64_t masks_apart() const { return (p.training ? p.steps : p.batch) * factors_apart; }
    INLINE float* gates_at(float* all, int64_t panel, int64_t entry) const {
        return all + (panel * p.steps + entry) * panel_floats;
    }
    INLINE int64_t panels_apart() const { return p.steps * panel_floats; }
};

// A step: its time, and the first entries of it and of the step before.
struct Step {
    int64_t t, entry, before;
};

// Where one vector of units stands, of which there are `left`. gates holds [slot][V]; what a cell has not is null.
struct Place {
    int64_t left;
    const float *h_before, *c_before;
    float *h, *c, *gates;
    float* factors = nullptr;  // h as factors of products, where those are kept apart
};

// The states of one row at a step, and before it.
template <class Cell>
struct States {
    const float *h_before, *c_before;
    float *h, *c;
    float *factors_before_at, *factors;  // of h before and h in places, where those are kept apart
    int64_t h_before_apart;

    INLINE States(const Layout<Cell>& at, Step step, int64_t row) {
        const bool every = at.p.training;
        h = at.hs + ((every ? step.entry : (step.t & 1) * at.p.batch) + row) * at.h_apart;
        h_before = step.t ? at.hs + ((every ? step.before : (~step.t & 1) * at.p.batch) + row) * at.h_apart
                          : at.p.h0 + row * at.p.units;
        h_before_apart = step.t ? at.h_apart : at.p.units;
        factors_before_at = factors = nullptr;
        if (TOGETHER > 1 && at.factors) {
            const int64_t now = every ? step.entry : (step.t & 1) * at.p.batch;
            const int64_t then = every ? step.before : (~step.t & 1) * at.p.batch;
            factors = at.factors + (at.p.batch + now + row) * at.factors_apart;
            factors_before_at = at.factors + ((step.t ? at.p.batch + then : 0) + row) * at.factors_apart;
        }
        c = nullptr;
        c_before = nullptr;
        if (Cell::states == 2) {
            c = at.cells + ((every ? at.p.batch + step.entry : 0) + row) * at.padded_units;
            c_before = at.cells + ((every && step.t ? at.p.batch + step.before : 0) + row) * at.padded_units;
        }
    }

    // Of this row and those after it, the h before as left factors of products.
    INLINE Rows factors_before(const Layout<Cell>& at) const {
        return TOGETHER > 1 ? Rows{factors_before_at, at.factors_apart} : Rows{h_before, h_before_apart};
    }

    INLINE Place place(int64_t unit, int64_t left) const {
        Place found{left, h_before + unit, nullptr, h + unit, nullptr, nullptr};
        if (Cell::states == 2) {
            found.c_before = c_before + unit;
            found.c = c + unit;
        }
        if (TOGETHER > 1 && factors) found.factors = factors + unit / TOGETHER;
        return found;
    }
};

}  // namespace ostinato::OSTINATO_ISA
