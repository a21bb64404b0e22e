// XLA allocates the memory of a program's intermediate values anew in each run, and the kernel maps
// it page by page as it is first written: a quarter of a million faults in a training step of
// ResNet-18 at batch 32. Where it grants large pages on request, one call asks for all of them.
#pragma once

#include <cstdint>

#if defined(__linux__)

#include <sys/mman.h>

#include <atomic>
#include <cinttypes>
#include <cstdio>

// The mapping that an address is in, [first, last); empty if it is not found.
struct Mapping {
  uintptr_t first = 0, last = 0;
};

inline Mapping find_mapping(uintptr_t address) {
  Mapping found;
  if (FILE* maps = std::fopen("/proc/self/maps", "r")) {
    uintptr_t first, last;
    while (std::fscanf(maps, "%" SCNxPTR "-%" SCNxPTR "%*[^\n]", &first, &last) == 2)
      if (first <= address && address < last) {
        found = {first, last};
        break;
      }
    std::fclose(maps);
  }
  return found;
}

// Asks for large pages for the whole mapping around a result that is about to be written. Advice
// only: where the kernel declines, or the mapping has changed meanwhile, nothing happens.
inline void advise(const void* result, size_t bytes) {
  constexpr uintptr_t kPage = 2 << 20;
  if (bytes < 2 * kPage) return;
  static std::atomic<uintptr_t> known_first{0}, known_last{0};
  const auto address = reinterpret_cast<uintptr_t>(result);
  Mapping mapping{known_first.load(), known_last.load()};
  if (address < mapping.first || address + bytes > mapping.last) {
    mapping = find_mapping(address);
    known_first = mapping.first;
    known_last = mapping.last;
  }
  const uintptr_t first = (mapping.first + kPage - 1) / kPage * kPage;
  const uintptr_t last = mapping.last / kPage * kPage;
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
}

#else

inline void advise(const void*, size_t) {}

#endif
