// What the library exports: each call goes to the kernels of the best instruction set that the processor has,
// or of the one that the environment names.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "parallel.h"

namespace {

struct Kernels {
    const char* (*name)();
    int64_t (*team)(int64_t);
    void (*sizes)(const OstinatoProblem&, OstinatoSizes&);
    void (*forward)(const OstinatoProblem&);
    void (*backward)(const OstinatoProblem&);
};

#define OSTINATO_CHOSEN(isa) \
    { ostinato::isa::name, ostinato::isa::team, ostinato::isa::sizes, ostinato::isa::forward, ostinato::isa::backward }

// What runs, and what runs `low` problems.
struct Chosen {
    Kernels all, low;
};

// Of the sets that this processor has the best, or the one that OSTINATO_NATIVE_ISA names. A name that
// is none of theirs changes nothing: whoever set it sees by ostinato_isa() that it had no effect.
Chosen choose() {
    Chosen runs[4];  // from the best to the least
    int count = 0;
#if defined(OSTINATO_HAS_AVX2) || defined(OSTINATO_HAS_AVX512)
    __builtin_cpu_init();  // this runs before main
#endif
#ifdef OSTINATO_HAS_AVX512
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma")) {
#ifdef OSTINATO_HAS_AVX512_BF16
        if (__builtin_cpu_supports("avx512bf16"))
            runs[count++] = {OSTINATO_CHOSEN(avx512), OSTINATO_CHOSEN(avx512_bf16)};
#endif
        runs[count++] = {OSTINATO_CHOSEN(avx512), OSTINATO_CHOSEN(avx512)};
    }
#endif
#ifdef OSTINATO_HAS_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        runs[count++] = {OSTINATO_CHOSEN(avx2), OSTINATO_CHOSEN(avx2)};
#endif
    runs[count++] = {OSTINATO_CHOSEN(plain), OSTINATO_CHOSEN(plain)};
    const char* named = getenv("OSTINATO_NATIVE_ISA");
    for (int i = 0; named && i < count; ++i)
        if (strcmp(named, runs[i].low.name()) == 0) return runs[i];
    return runs[0];
}

// Chosen when the library is loaded, so that no call has to look whether it was.
const Chosen chosen = choose();

const Kernels& kernels_for(const OstinatoProblem& p) { return p.low ? chosen.low : chosen.all; }

// The child of a fork has none of its parent's threads, and would wait for them for ever: it works alone.
bool forked = false;
__attribute__((constructor)) void watch_forks() {
    pthread_atfork(nullptr, nullptr, [] { forked = true; });
}

OstinatoProblem with_threads_there_are(const OstinatoProblem& given) {
    OstinatoProblem p = given;
    if (forked) p.threads = 1;
    return p;
}

// Two problems at once, one on each of two threads, need no meeting within: always better with two threads. With more
// it is where a batch is too small for its rows to be shared; else both are run on all threads, one after the other.
using Run = void (*Kernels::*)(const OstinatoProblem&);  // forward or backward
void run_two(Run way, const OstinatoProblem& first, const OstinatoProblem& second) {
    const auto run = [way](const OstinatoProblem& p) { (kernels_for(p).*way)(p); };
    constexpr int64_t few_rows = 6, least_work = 400000;  // operations: to start a thread takes as long
    OstinatoProblem both[2] = {with_threads_there_are(first), with_threads_there_are(second)};
    const int64_t work = 2 * first.steps * (first.features + first.units) * first.units;
    const bool at_once = both[0].threads == 2 || (both[0].threads > 2 && first.batch <= few_rows);
    if (!at_once || work < least_work) {
        run(both[0]);
        run(both[1]);
        return;
    }
    for (OstinatoProblem& p : both) p.threads = 1;
    ostinato::parallel(2, [&](int64_t id, int64_t team) {
        for (int64_t i = id; i < 2; i += team) run(both[i]);
    });
}

}  // namespace

int64_t ostinato_abi(void) { return OSTINATO_ABI; }
const char* ostinato_isa(void) { return chosen.low.name(); }
int64_t ostinato_team(int64_t threads) { return chosen.all.team(forked ? 1 : threads); }
void ostinato_sizes(const OstinatoProblem* p, OstinatoSizes* found) { kernels_for(*p).sizes(*p, *found); }
void ostinato_forward(const OstinatoProblem* p) { kernels_for(*p).forward(with_threads_there_are(*p)); }
void ostinato_backward(const OstinatoProblem* p) { kernels_for(*p).backward(with_threads_there_are(*p)); }
void ostinato_forward_two(const OstinatoProblem* p, const OstinatoProblem* q) { run_two(&Kernels::forward, *p, *q); }
void ostinato_backward_two(const OstinatoProblem* p, const OstinatoProblem* q) { run_two(&Kernels::backward, *p, *q); }
