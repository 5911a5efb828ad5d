// Compiled once for each instruction set, into the namespace OSTINATO_ISA.
#include "kernels.h"

#include "parallel.h"

#define OSTINATO_QUOTED(isa) #isa
#define OSTINATO_NAME(isa) OSTINATO_QUOTED(isa)

namespace ostinato::OSTINATO_ISA {

const char* name() { return OSTINATO_NAME(OSTINATO_ISA); }

// How many threads work when `threads` are asked for.
int64_t team(int64_t threads) {
  int64_t working = 0;
  parallel(threads, [&](int64_t, int64_t) { __atomic_fetch_add(&working, 1, __ATOMIC_RELAXED); });
  return working;
}

}  // namespace ostinato::OSTINATO_ISA
