// The kernel's gradient of a 1x1 convolution: the pixels' matrix, transposed, times that of the output
// gradient. Both are packed, a few hundred pixels at a time, for the innermost loop.
#pragma once

#include "convolution.h"

class PointwiseGradient {
 public:
  PointwiseGradient(const Tiles& tiles, const Geometry& g, const float* x, const float* dy)
      : tiles_(tiles), g_(g), x_(x), dy_(dy), block_(2 * tiles.vector),
        most_(tiles.most[g.filters < block_ ? 1 : 2]), pixels_(g.batch * g.out[0] * g.out[1]) {}

  static bool suits(const Geometry& g) {
    return g.taps[0] == 1 && g.taps[1] == 1 && !g.padding[0] && !g.padding[1];
  }

  void run(Pool& pool, float* dkernel) const {
    const long size = g_.channels * g_.filters;
    // A small gradient is summed for parts of the pixels, and these are added; a large one is cut
    // itself. Neither depends on the number of threads, so nor do the sums.
    const long parts = size <= kSmall ? std::min(8L, chunks()) : 1;
    const long wanted = (4 * pool.size() + parts - 1) / parts;
    long down = 1, across = 1;
    cut(wanted, down, across);
    static thread_local Scratch partial;
    float* sums = partial.floats(parts * size);
    parallel(pool, parts * down * across, [&](long task) {
      const long part = task / across / down, i = task / across % down, j = task % across;
      add({part * chunks() / parts, (part + 1) * chunks() / parts},
          {i * panels() / down, (i + 1) * panels() / down},
          {j * blocks() / across, (j + 1) * blocks() / across}, sums + part * size);
    });
    parallel(pool, panels(), [&](long panel) { collect(panel, sums, parts, dkernel); });
  }

 private:
  struct Range {
    long first, last;
  };

  static constexpr long kSmall = 128 << 10;  // floats of a gradient that many threads can have
  static constexpr long kPixels = 256;       // of a chunk

  // A panel is channels that fill a block of registers, a block filters.
  long panels() const { return (g_.channels + most_ - 1) / most_; }
  long blocks() const { return (g_.filters + block_ - 1) / block_; }
  long chunks() const { return (pixels_ + kPixels - 1) / kPixels; }
  long channel(long panel) const { return panel * g_.channels / panels(); }

  // Into how many parts of the panels and of the blocks, so that least is packed twice.
  void cut(long wanted, long& down, long& across) const {
    long least = -1;
    for (long i = 1; i <= std::min(wanted, panels()); i++) {
      const long j = std::min((wanted + i - 1) / i, blocks());
      const long packed = i * g_.filters + j * g_.channels;
      const bool enough = i * j >= std::min(wanted, panels() * blocks());
      if (enough && (least < 0 || packed < least)) least = packed, down = i, across = j;
    }
  }

  // Into sums [panel][block][channel][filter].
  void add(Range chunk, Range panel, Range block, float* sums) const {
    static thread_local Scratch memory;
    const long low = block.first * block_;
    const long width = std::min(g_.filters, block.last * block_) - low;
    float* packed_dy = memory.floats(kPixels * (width + most_));
    float* packed_x = packed_dy + kPixels * width;
    for (long i = panel.first; i < panel.last; i++)
      std::fill_n(sums + channel(i) * g_.filters + low * (channel(i + 1) - channel(i)),
                  width * (channel(i + 1) - channel(i)), 0.f);
    for (long c = chunk.first; c < chunk.last; c++) {
      const long begin = c * pixels_ / chunks(), count = (c + 1) * pixels_ / chunks() - begin;
      tiles_.split(dy_ + begin * g_.pitch[1] + low, g_.pitch[1], count, width, packed_dy);
      for (long i = panel.first; i < panel.last; i++) {
        const long rows = channel(i + 1) - channel(i);
        pack(channel(i), rows, begin, count, packed_x);
        for (long f = 0; f < width; f += block_) {
          const long filters = std::min(block_, width - f);
          const long counts[3] = {1, 1, count}, x_strides[3] = {0, 0, rows};
          const long dy_strides[3] = {0, 0, filters};
          tiles_.outer[filters / tiles_.vector][rows](
              packed_x, x_strides, packed_dy + f * count, dy_strides, counts,
              sums + channel(i) * g_.filters + (low + f) * rows, filters);
        }
      }
    }
  }

  // [count][width] channels of the pixels under outputs [begin, begin + count).
  void pack(long channel, long width, long begin, long count, float* out) const {
    const long step = g_.stride[1] * g_.pitch[0];
    if (g_.stride[0] == 1 && g_.stride[1] == 1)
      return tiles_.copy[width](x_ + begin * step + channel, step, count, out);
    for (const long end = begin + count; begin < end;) {
      const long column = begin % g_.out[1], row = begin / g_.out[1] % g_.out[0];
      const long image = begin / g_.out[1] / g_.out[0];
      const long here = std::min(end - begin, g_.out[1] - column);
      const float* x = x_ + (image * g_.height + row * g_.stride[0]) * g_.width * g_.pitch[0];
      tiles_.copy[width](x + column * step + channel, step, here, out);
      begin += here, out += here * width;
    }
  }

  void collect(long panel, const float* sums, long parts, float* dkernel) const {
    const long first = channel(panel), rows = channel(panel + 1) - first;
    for (long f = 0; f < g_.filters; f += block_) {
      const long filters = std::min(block_, g_.filters - f);
      for (long row = 0; row < rows; row++) {
        const float* sum = sums + first * g_.filters + f * rows + row * filters;
        float* out = dkernel + (first + row) * g_.filters + f;
        std::copy_n(sum, filters, out);
        for (long part = 1; part < parts; part++)
          for (long j = 0; j < filters; j++) out[j] += sum[part * g_.channels * g_.filters + j];
      }
    }
  }

  const Tiles& tiles_;
  const Geometry& g_;
  const float *x_, *dy_;
  const long block_, most_, pixels_;
};
