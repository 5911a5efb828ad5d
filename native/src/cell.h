// The functions for one cell, in one instruction set.
#pragma once

#include "backward.h"
#include "forward.h"

namespace ostinato::OSTINATO_ISA {

struct CellFunctions {
    void (*sizes)(const OstinatoProblem&, OstinatoSizes&);
    void (*forward)(const OstinatoProblem&);
    void (*backward)(const OstinatoProblem&);
};

// Each is defined in the file of its name.
extern const CellFunctions lstm, gru, gru_reset_before, simple_rnn;

// Call `work(equation)` with the activations of a problem. The usual ones are known to the compiler.
template <class Cell, class Work>
void with_equation(const OstinatoProblem& p, Work work) {
    using Tanh = Fixed<OSTINATO_TANH>;
    using Sigmoid = Fixed<OSTINATO_SIGMOID>;
    if (p.activation == OSTINATO_TANH && p.recurrent_activation == OSTINATO_SIGMOID)
        work(Equations<Cell, Tanh, Sigmoid>{Tanh(0), Sigmoid(0)});
    else
        work(Equations<Cell, Chosen, Chosen>{Chosen(p.activation), Chosen(p.recurrent_activation)});
}

template <class Cell>
constexpr CellFunctions functions_of() {
    return {
        [](const OstinatoProblem& given, OstinatoSizes& found) {
            OstinatoProblem p = given;
            p.keep = 1;
            using Equation = Equations<Cell, Chosen, Chosen>;
            const Equation equation{Chosen(0), Chosen(0)};
            Parts saved{nullptr}, forward{nullptr}, again{nullptr}, backward{nullptr};
            Forward<Cell, Equation>(p, equation, saved, forward);
            if (p.training) Backward<Cell, Equation>(p, equation, again, backward);
            found = {saved.used, forward.used, backward.used};
        },
        [](const OstinatoProblem& p) {
            Parts saved{p.saved}, scratch{p.scratch};
            with_equation<Cell>(p, [&](auto equation) {
                Forward<Cell, decltype(equation)>(p, equation, saved, scratch).run();
            });
        },
        [](const OstinatoProblem& p) {
            Parts saved{p.saved}, scratch{p.scratch};
            with_equation<Cell>(p, [&](auto equation) {
                Backward<Cell, decltype(equation)>(p, equation, saved, scratch).run();
            });
        },
    };
}

}  // namespace ostinato::OSTINATO_ISA
