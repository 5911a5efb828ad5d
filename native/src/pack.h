// Weights laid out as the microkernel reads them.
#pragma once

#include "layout.h"
#include "team.h"

namespace ostinato::OSTINATO_ISA {

// Places of `left` numbers and of those in the next of `rows` rows; without one, zeros.
INLINE vec load_together(const float* from, int64_t step, int64_t rows, int64_t left) {
    return together(load(from, left), TOGETHER > 1 && rows > 1 ? load(from + step, left) : vec{});
}

// [panel][place][block][slot][V] of weights (rows, gates * units): `Count` slots from `First` on, rows in places. Units
// that there are not are zeros.
template <class Cell, int First, int Count>
void pack(const Layout<Cell>& at, const float* weights, int64_t rows, float* packed, Share panels) {
    constexpr int units = Layout<Cell>::panel_units, width = Count * units;
    const int64_t step = Cell::gates * at.p.units;
    for (int64_t panel = panels.first; panel < panels.end; ++panel)
        for (int64_t row = 0; row < rows; row += TOGETHER) {
            float* to = packed + (panel * places(rows) + row / TOGETHER) * width;
            for (int block = 0; block < Cell::blocks; ++block) {
                const int64_t unit = panel * units + block * V;
                for (int s = 0; s < Count; ++s, to += V) {
                    const int64_t left = at.units_from(unit);
                    const float* from = weights + row * step + Cell::gate_of(First + s) * at.p.units + unit;
                    store(to, load_together(from, step, rows - row, larger(left, 0)));
                }
            }
        }
}

// [part][panel][block][slot][V / TOGETHER][WIDTH V] of weights (rows, gates * units): transposed, units in places, a
// part for each WIDTH V of the rows. It takes a panel's gradients to those of what was multiplied with the weights.
template <class Cell, int First, int Count>
void pack_transposed(const Layout<Cell>& at, const float* weights, int64_t rows, float* packed, Share parts) {
    constexpr int units = Layout<Cell>::panel_units, wide = WIDTH * V;
    const int64_t step = Cell::gates * at.p.units;
    const int64_t depth = at.panels * Count * units / TOGETHER;
    for (int64_t part = parts.first; part < parts.end; ++part)
        for (int64_t panel = 0; panel < at.panels; ++panel)
            for (int block = 0; block < Cell::blocks; ++block)
                for (int s = 0; s < Count; ++s) {
                    const int64_t unit = panel * units + block * V;
                    const int64_t left = smaller(larger(at.units_from(unit), 0), V);
                    const float* from = weights + Cell::gate_of(First + s) * at.p.units + unit;
                    const int64_t at_depth = ((panel * Cell::blocks + block) * Count + s) * (V / TOGETHER);
                    float* to = packed + (part * depth + at_depth) * wide;
                    for (int64_t i = 0; i < wide; ++i) {
                        const int64_t row = part * wide + i;
                        alignas(64) float numbers[V];
                        store_places(numbers, row < rows ? load(from + row * step, left) : vec{}, V);
                        for (int64_t j = 0; j < V / TOGETHER; ++j) to[j * wide + i] = numbers[j];
                    }
                }
}

// [panel][block][slot][V] of biases (gates * units); null ones are zeros.
template <class Cell>
void pack_bias(const Layout<Cell>& at, float* packed) {
    const OstinatoProblem& p = at.p;
    for (int64_t panel = 0; panel < at.panels; ++panel)
        for (int block = 0; block < Cell::blocks; ++block)
            for (int s = 0; s < Cell::slots; ++s, packed += V) {
                const int64_t unit = panel * Layout<Cell>::panel_units + block * V;
                const int64_t left = at.units_from(unit), from = Cell::gate_of(s) * p.units + unit;
                const bool of_x = s >= Cell::x_first && s < Cell::x_first + Cell::x_count;
                const bool of_h = s >= Cell::h_first && s < Cell::h_first + Cell::h_count;
                vec sum{};
                if (p.bias && of_x && left > 0) sum += load(p.bias + from, left);
                if (p.recurrent_bias && of_h && left > 0) sum += load(p.recurrent_bias + from, left);
                store(packed, sum);
            }
}

}  // namespace ostinato::OSTINATO_ISA
