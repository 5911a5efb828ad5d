// What each instruction set offers to the library.
#pragma once

#include "abi.h"

#define OSTINATO_KERNELS(isa)                           \
    namespace ostinato::isa {                           \
    const char* name();                                 \
    int64_t team(int64_t threads);                      \
    void sizes(const OstinatoProblem&, OstinatoSizes&); \
    void forward(const OstinatoProblem&);               \
    void backward(const OstinatoProblem&);              \
    }

OSTINATO_KERNELS(plain)
OSTINATO_KERNELS(avx2)
OSTINATO_KERNELS(avx512)
OSTINATO_KERNELS(avx512_bf16)
