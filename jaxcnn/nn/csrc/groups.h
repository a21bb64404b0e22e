// Which algorithm takes a convolution; and those in groups, as several that know nothing of groups.
#pragma once

#include "convolution.h"
#include "kernel_gradient.h"
#include "winograd.h"

enum class Kind { kConvolve, kImageGradient, kKernelGradient };

// `image` and `output` are what lies on both sides of the convolution; which of the three is written
// follows from the kind.
inline void run(Pool& pool, const Tiles& tiles, Kind kind, const Geometry& g, float* image,
                float* kernel, float* output) {
  const bool winograds = suits_winograd(g);
  switch (kind) {
    case Kind::kConvolve:
      return winograds ? winograd_convolve(pool, tiles, g, image, kernel, output)
                       : convolve(pool, tiles, g, image, kernel, output);
    case Kind::kImageGradient:
      return winograds ? winograd_image_gradient(pool, tiles, g, output, kernel, image)
                       : image_gradient(pool, tiles, g, output, kernel, image);
    case Kind::kKernelGradient:
      return winograds ? winograd_kernel_gradient(pool, tiles, g, image, output, kernel)
                       : kernel_gradient(pool, tiles, g, image, output, kernel);
  }
}

// As many groups at once as fill vectors: one convolution whose kernel is zero from one group to
// another.
struct Joined {
  const Geometry& g;  // of all groups
  long groups, count;

  long channels() const { return g.channels / groups; }  // of a group
  long filters() const { return g.filters / groups; }

  Geometry part() const {
    Geometry part = g;
    part.channels = count * channels();
    part.filters = count * filters();
    return part;
  }

  // Calls copy(place in the kernel of all groups, place in that of these, filters) for each line.
  template <typename Copy>
  void lines(long number, Copy copy) const {
    const long rows = count * channels(), columns = count * filters();
    for (long tap = 0; tap < g.taps[0] * g.taps[1]; tap++)
      for (long group = 0; group < count; group++)
        for (long i = 0; i < channels(); i++)
          copy((tap * channels() + i) * g.filters + (number * count + group) * filters(),
               (tap * rows + group * channels() + i) * columns + group * filters(), filters());
  }
};

inline void run_groups(Pool& pool, const Tiles& tiles, Kind kind, const Joined& joined,
                       float* image, float* kernel, float* output) {
  const long parts = joined.groups / joined.count;
  if (joined.groups == 1) return run(pool, tiles, kind, joined.g, image, kernel, output);
  const Geometry part = joined.part();
  auto one = [&](Pool& pool, long number) {
    static thread_local Scratch memory;
    const long size = part.taps[0] * part.taps[1] * part.channels * part.filters;
    float* own = memory.floats(size);
    if (kind != Kind::kKernelGradient) {
      std::fill_n(own, size, 0.f);
      joined.lines(number, [&](long all, long here, long n) { std::copy_n(kernel + all, n, own + here); });
    }
    run(pool, tiles, kind, part, image + number * part.channels, own, output + number * part.filters);
    if (kind == Kind::kKernelGradient)
      joined.lines(number, [&](long all, long here, long n) { std::copy_n(own + here, n, kernel + all); });
  };
  if (parts < 2 * pool.size()) {
    for (long number = 0; number < parts; number++) one(pool, number);
    return;
  }
  parallel(pool, parts, [&](long number) {
    Pool alone;
    one(alone, number);
  });
}
