// The one way into the thread pool: that of the libgomp which torch has loaded, called by its C ABI.
//
// By the symbol and not by `#pragma omp`: a pragma becomes a call of the compiler's own runtime, which for Clang is
// one that torch has not loaded. GOMP_parallel is in GCC's runtime, LLVM's and Intel's.
#pragma once

#include <cstdint>

extern "C" {
void GOMP_parallel(void (*region)(void*), void* data, unsigned threads, unsigned flags);
int omp_get_thread_num(void);
int omp_get_num_threads(void);
}

namespace ostinato {
namespace {  // each instruction set has a copy of its own

// Calls work(thread, threads) once in each thread of a team of at most `threads`, this one among them, and waits for
// all of them.
template <typename Work>
void parallel(int64_t threads, const Work& work) {
    if (threads <= 1) {
        work(int64_t{0}, int64_t{1});
        return;
    }
    GOMP_parallel(
            [](void* data) {
                (*static_cast<const Work*>(data))(int64_t{omp_get_thread_num()}, int64_t{omp_get_num_threads()});
            },
            const_cast<void*>(static_cast<const void*>(&work)), static_cast<unsigned>(threads), 0);
}

}  // namespace
}  // namespace ostinato
