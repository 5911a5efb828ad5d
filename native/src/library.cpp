// The C ABI that Python loads, and the choice of the instruction set it runs in.
#include <cstdint>

#include "kernels.h"

namespace {

struct Kernels {
  const char* (*name)();
  int64_t (*team)(int64_t);
};

Kernels choose() {
#if defined(OSTINATO_HAS_AVX2) || defined(OSTINATO_HAS_AVX512)
  __builtin_cpu_init();  // this runs before main
#endif
#ifdef OSTINATO_HAS_AVX512
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma"))
    return {ostinato::avx512::name, ostinato::avx512::team};
#endif
#ifdef OSTINATO_HAS_AVX2
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return {ostinato::avx2::name, ostinato::avx2::team};
#endif
  return {ostinato::plain::name, ostinato::plain::team};
}

// Chosen when the library is loaded, so that no call has to look whether it was.
const Kernels kernels = choose();

}  // namespace

#define OSTINATO_EXPORT extern "C" __attribute__((visibility("default")))

// The number of this interface: it changes with every change of a function below. engines/library.py compares it.
OSTINATO_EXPORT int64_t ostinato_abi(void) { return 1; }

// The instruction set that runs here.
OSTINATO_EXPORT const char* ostinato_isa(void) { return kernels.name(); }

// How many threads of torch's pool work when `threads` are asked for.
OSTINATO_EXPORT int64_t ostinato_team(int64_t threads) { return kernels.team(threads); }
