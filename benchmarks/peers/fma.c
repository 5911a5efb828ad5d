// Multiply-adds of registers alone: as many as the processor can have under way, nothing is loaded or stored.
#include <stdint.h>

#if defined(__AVX512F__)
enum { BYTES = 64, SUMS = 24 };
#elif defined(__AVX__)
enum { BYTES = 32, SUMS = 12 };
#elif defined(__aarch64__)
enum { BYTES = 16, SUMS = 24 };
#else
enum { BYTES = 16, SUMS = 12 };
#endif

typedef float vec __attribute__((vector_size(BYTES)));

int operations_per_turn(void) { return 2 * SUMS * BYTES / 4; }

float multiply_add(int64_t turns) {
    vec sums[SUMS] = {0};
    vec factor = {0}, term = {0};
    factor += 0.999f;
    term += 0.001f;
    // They come from memory as far as the compiler knows, so that it can't work out the sums.
    __asm__ volatile("" : "+m"(factor), "+m"(term));
    const vec a = factor, b = term;
    for (int64_t turn = 0; turn < turns; ++turn)
#pragma GCC unroll 32
        for (int i = 0; i < SUMS; ++i) sums[i] = sums[i] * a + b;
    vec all = {0};
    for (int i = 0; i < SUMS; ++i) all += sums[i] * (float)i;
    return all[0];
}
