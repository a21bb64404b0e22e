// The table of inner loops that this processor runs best.
#pragma once

#include <cstring>
#include <utility>

struct Tiles {
  int vector;   // floats
  int most[3];  // rows of the largest block, by the number of vectors in a row
  void (*gather[3][32])(const float*, long, const long*, long, long, long, const float*, float*,
                        long);
  void (*outer[3][32])(const float*, const long*, const float*, const long*, const long*, float*,
                       long);
  void (*copy[33])(const float*, long, long, float*);
  void (*split)(const float*, long, long, long, float*);
  void (*transform_image)(const float* const*, long, float*, long);
  void (*transform_kernel)(const float*, long, long, float*, long);
  void (*transform_output)(const float*, long, long, float* const*);
  void (*spread_output)(const float* const*, long, float*, long);
  void (*collect_kernel)(const float*, long, long, float*, long);
  void (*pick)(const float* const*, float* const*, long, const float*, long);
};

#if defined(__x86_64__) && defined(__GNUC__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,fma")
#endif
namespace avx512 {
#define VECTOR 16
#define REGISTERS 32
#include "tiles.h"
#undef VECTOR
#undef REGISTERS
}  // namespace avx512
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace avx2 {
#define VECTOR 8
#define REGISTERS 16
#include "tiles.h"
#undef VECTOR
#undef REGISTERS
}  // namespace avx2
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

// By name, or by this processor if the name is empty; null where it cannot run.
inline const Tiles* find_tiles(const char* name) {
  const bool any = !*name;
  // Each table is made by code of its own instruction set, so only where that runs.
  if (__builtin_cpu_supports("avx512f") && (any || !std::strcmp(name, "avx512"))) {
    static const Tiles tiles = avx512::make();
    return &tiles;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      (any || !std::strcmp(name, "avx2"))) {
    static const Tiles tiles = avx2::make();
    return &tiles;
  }
  return nullptr;
}

#else

inline const Tiles* find_tiles(const char*) { return nullptr; }

#endif
