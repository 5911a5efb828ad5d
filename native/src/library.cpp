// What the library exports: each call goes to the kernels of the best instruction set that the processor has.
#include <pthread.h>

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

Kernels choose() {
#if defined(OSTINATO_HAS_AVX2) || defined(OSTINATO_HAS_AVX512)
    __builtin_cpu_init();  // this runs before main
#endif
#ifdef OSTINATO_HAS_AVX512
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma"))
        return OSTINATO_CHOSEN(avx512);
#endif
#ifdef OSTINATO_HAS_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return OSTINATO_CHOSEN(avx2);
#endif
    return OSTINATO_CHOSEN(plain);
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
