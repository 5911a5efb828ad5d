// One instruction set's way to the functions of each cell; compiled, like those, once for each set.
#include "kernels.h"

#include "cell.h"

#define OSTINATO_QUOTED(isa) #isa
#define OSTINATO_NAME(isa) OSTINATO_QUOTED(isa)

namespace ostinato::OSTINATO_ISA {

namespace {

const CellFunctions& functions_for(const OstinatoProblem& p) {
    if (p.cell == OSTINATO_LSTM) return lstm;
    if (p.cell == OSTINATO_GRU) return p.reset_before ? gru_reset_before : gru;
    return simple_rnn;
}

}  // namespace

const char* name() { return OSTINATO_NAME(OSTINATO_ISA); }

int64_t team(int64_t threads) {
    int64_t working = 0;
    parallel(threads, [&](int64_t, int64_t) { __atomic_fetch_add(&working, 1, __ATOMIC_RELAXED); });
    return working;
}

void sizes(const OstinatoProblem& p, OstinatoSizes& found) { functions_for(p).sizes(p, found); }
void forward(const OstinatoProblem& p) { functions_for(p).forward(p); }
void backward(const OstinatoProblem& p) { functions_for(p).backward(p); }

}  // namespace ostinato::OSTINATO_ISA
