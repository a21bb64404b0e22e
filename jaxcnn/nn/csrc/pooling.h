// The gradient of max pooling.
#pragma once

#include <algorithm>
#include <vector>

#include "instruction_sets.h"
#include "parallel.h"

// Images are [batch, height, width, channels]; padding is that before the first pixel.
struct Windows {
  long batch, height, width, channels;
  long out[2], size[2], stride[2], padding[2];
};

// dx: of each window, its gradient where its first largest pixel is.
inline void pool_gradient(Pool& pool, const Tiles& tiles, const Windows& w,
                          const float* dy, const float* x, float* dx) {
  // Windows overlap, so no two threads share an image's channels.
  const long vectors = (w.channels + tiles.vector - 1) / tiles.vector;
  const long groups = std::clamp(4 * pool.size() / std::max(1L, w.batch), 1L, vectors);
  parallel(pool, w.batch * groups, [&](long task) {
    const long image = task / groups, group = task % groups;
    const long begin = group * vectors / groups * tiles.vector;
    const long count = std::min(w.channels, (group + 1) * vectors / groups * tiles.vector) - begin;
    const long first = image * w.height * w.width * w.channels + begin;
    for (long pixel = 0; pixel < w.height * w.width; pixel++)
      std::fill_n(dx + first + pixel * w.channels, count, 0.f);
    std::vector<const float*> taps(w.size[0] * w.size[1]);
    std::vector<float*> gradients(w.size[0] * w.size[1]);
    const float* d = dy + image * w.out[0] * w.out[1] * w.channels + begin;
    for (long row = 0; row < w.out[0]; row++)
      for (long column = 0; column < w.out[1]; column++, d += w.channels) {
        const long top = row * w.stride[0] - w.padding[0];
        const long left = column * w.stride[1] - w.padding[1];
        long found = 0;
        for (long r = std::max(0L, top); r < std::min(w.height, top + w.size[0]); r++)
          for (long c = std::max(0L, left); c < std::min(w.width, left + w.size[1]); c++) {
            const long place = first + (r * w.width + c) * w.channels;
            taps[found] = x + place;
            gradients[found++] = dx + place;
          }
        if (found) tiles.pick(taps.data(), gradients.data(), found, d, count);
      }
  });
}
