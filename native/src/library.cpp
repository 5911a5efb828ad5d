// What the library exports: each call goes to the kernels of the best instruction set that the processor has,
// or of the one that the environment names.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

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

// Of the sets that this processor has the best, or the one that OSTINATO_NATIVE_ISA names. A name that
// is none of theirs changes nothing: whoever set it sees by ostinato_isa() that it had no effect.
Kernels choose() {
    Kernels runs[3];  // from the best to the least
    int count = 0;
#if defined(OSTINATO_HAS_AVX2) || defined(OSTINATO_HAS_AVX512)
    __builtin_cpu_init();  // this runs before main
#endif
#ifdef OSTINATO_HAS_AVX512
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma"))
        runs[count++] = OSTINATO_CHOSEN(avx512);
#endif
#ifdef OSTINATO_HAS_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) runs[count++] = OSTINATO_CHOSEN(avx2);
#endif
    runs[count++] = OSTINATO_CHOSEN(plain);
    const char* named = getenv("OSTINATO_NATIVE_ISA");
    for (int i = 0; named && i < count; ++i)
        if (strcmp(named, runs[i].name()) == 0) return runs[i];
    return runs[0];
}

// Chosen when the library is loaded, so that no call has to look whether it was.
const Kernels kernels = choose();

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

}  // namespace

int64_t ostinato_abi(void) { return OSTINATO_ABI; }
const char* ostinato_isa(void) { return kernels.name(); }
int64_t ostinato_team(int64_t threads) { return kernels.team(forked ? 1 : threads); }
void ostinato_sizes(const OstinatoProblem* p, OstinatoSizes* found) { kernels.sizes(*p, *found); }
void ostinato_forward(const OstinatoProblem* p) { kernels.forward(with_threads_there_are(*p)); }
void ostinato_backward(const OstinatoProblem* p) { kernels.backward(with_threads_there_are(*p)); }
