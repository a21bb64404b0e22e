// The kernel's gradient: for each tap, the sum over all pixels of input times output gradient.
#pragma once

#include "convolution.h"

// Where a block of the kernel's rows meets the images.
struct Run {
  long row;          // of the kernel, as [taps * channels, filters]
  long length;       // rows in one piece: channels, or those of a line of taps
  long offset[2];    // input pixels from output (0, 0), down and across
};

struct Images {
  const float* x;
  long size[2], channels;
};

inline std::vector<Run> runs(const Geometry& g, bool padded) {
  std::vector<Run> all;
  for (long row = 0; row < g.taps[0]; row++) {
    const long down = row * g.dilation[0] - (padded ? 0 : g.padding[0]);
    for (long column = 0; column < g.taps[1]; column++) {
      const long across = column * g.dilation[1] - (padded ? 0 : g.padding[1]);
      const long length = padded ? g.taps[1] * g.channels : g.channels;
      all.push_back({(row * g.taps[1] + column) * g.channels, length, {down, across}});
      if (padded) break;  // one run for the line
    }
  }
  return all;
}

// Adds `images` images to rows [begin, end) of the kernel's rows within a run, filters [f, ...).
inline void add(const Tiles& tiles, const Geometry& g, const Images& in, const float* dy,
                long images, const Run& run, long begin, long end, long f, int vectors,
                float* out) {
  long from[2], counts[3] = {images, 0, 0};
  for (int a = 0; a < 2; a++) {
    // Outputs whose pixel under this tap is inside the image.
    const long low = -run.offset[a], high = in.size[a] - 1 - run.offset[a];
    from[a] = low <= 0 ? 0 : (low + g.stride[a] - 1) / g.stride[a];
    const long to = high < 0 ? 0 : std::min(g.out[a], high / g.stride[a] + 1);
    counts[1 + a] = to - from[a];
    if (counts[1 + a] <= 0) return;
  }
  const long x_row = in.size[1] * in.channels, dy_row = g.out[1] * g.filters;
  const long x_strides[3] = {in.size[0] * x_row, g.stride[0] * x_row, g.stride[1] * in.channels};
  const long dy_strides[3] = {g.out[0] * dy_row, dy_row, g.filters};
  const float* x = in.x + (from[0] * g.stride[0] + run.offset[0]) * x_row +
                   (from[1] * g.stride[1] + run.offset[1]) * in.channels + begin;
  tiles.outer[vectors][end - begin](x, x_strides, dy + from[0] * dy_row + from[1] * g.filters + f,
                                    dy_strides, counts, out + (run.row + begin) * g.filters + f,
                                    g.filters);
}

inline void kernel_gradient(xla::ffi::ThreadPool& pool, const Tiles& tiles, const Geometry& g,
                            const float* x, const float* dy, float* dkernel) {
  // Few channels fill a block of registers only together with their neighbours' in the line, and
  // a line is whole only in a padded copy.
  const bool padded = g.channels < 32 && g.dilation[1] == 1 && g.taps[1] > 1;
  const std::vector<Run> all = runs(g, padded);
  const long block = 2 * tiles.vector, blocks = (g.filters + block - 1) / block;
  const long length = all[0].length;
  const long size = g.taps[0] * g.taps[1] * g.channels * g.filters;
  const long x_image = g.height * g.width * g.channels, dy_image = g.out[0] * g.out[1] * g.filters;

  // A small gradient is summed for parts of the batch and these are added; a large one is cut
  // itself. Neither depends on the number of threads, so nor do the sums.
  const bool by_batch = padded || (size <= kCache / 4 && g.batch >= 8);
  const long parts = by_batch ? std::min(16L, g.batch) : 1;
  const long pieces = by_batch ? 1 : std::clamp(32 / blocks, 1L, (length + 12) / 13);
  const long slices = by_batch ? 1 : blocks;
  const long chunk = std::max(1L, kCache / 2 / (x_image + dy_image));  // images

  static thread_local Scratch partial;
  float* sums = parts > 1 ? partial.floats(parts * size) : dkernel;
  parallel(pool, parts > 1 ? parts : 16, [&](long i) {
    const long n = parts > 1 ? parts : 16;
    const long whole = parts * size, a = i * whole / n, b = (i + 1) * whole / n;
    std::fill(sums + a, sums + b, 0.f);
  });
  parallel(pool, parts * pieces * slices, [&](long task) {
    static thread_local Scratch padding;
    const long part = task / pieces / slices, piece = task / slices % pieces, slice = task % slices;
    const long begin = piece * length / pieces, end = (piece + 1) * length / pieces;
    const long last = (part + 1) * g.batch / parts;
    for (long image = part * g.batch / parts; image < last; image += chunk) {
      const long images = std::min(chunk, last - image);
      Images in{x + image * x_image, {g.height, g.width}, g.channels};
      if (padded) {
        const long rows = g.height + 2 * g.padding[0], columns = g.width + 2 * g.padding[1];
        Gather whole{x, g.batch, {g.height, g.width}, g.channels, {}, nullptr, 0, 0, 0, 0};
        whole.axis[1] = {columns, 1, {0}, {-g.padding[1]}};
        float* copy = padding.floats(images * rows * columns * g.channels);
        for (long i = 0; i < images; i++)
          ::padded(whole, image + i, -g.padding[0], g.height + g.padding[0] - 1, columns,
                   copy + i * rows * columns * g.channels);
        in = {copy, {rows, columns}, g.channels};
      }
      for (long s = slice; s < blocks; s += slices) {
        const long f = s * block;
        const int vectors = g.filters - f < block ? 1 : 2;
        const long tiles_here = (end - begin + tiles.most[vectors] - 1) / tiles.most[vectors];
        for (long i = 0; i < tiles_here; i++)
          for (const Run& run : all)
            add(tiles, g, in, dy + image * dy_image, images, run,
                begin + i * (end - begin) / tiles_here,
                begin + (i + 1) * (end - begin) / tiles_here, f, vectors, sums + part * size);
      }
    }
  });
  if (parts == 1) return;
  const long cuts = std::min(16L, size / 256 + 1);
  parallel(pool, cuts, [&](long i) {
    const long a = i * size / cuts, b = (i + 1) * size / cuts;
    std::copy(sums + a, sums + b, dkernel + a);
    for (long part = 1; part < parts; part++)
      for (long j = a; j < b; j++) dkernel[j] += sums[part * size + j];
  });
}
