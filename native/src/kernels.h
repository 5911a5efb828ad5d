// What kernels.cpp defines for each instruction set, in a namespace of that name.
#pragma once

#include <cstdint>

#define OSTINATO_DECLARE(isa)             \
  namespace ostinato::isa {               \
  const char* name();                     \
  int64_t team(int64_t threads);          \
  }

OSTINATO_DECLARE(plain)
OSTINATO_DECLARE(avx2)
OSTINATO_DECLARE(avx512)

#undef OSTINATO_DECLARE
