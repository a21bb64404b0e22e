// 3x3 convolutions of stride one and their gradients by Winograd's F(2x2, 3x3): 2.25 times fewer
// products, in 16 matrix products between a tile's transformed pixels and the transformed kernel.
#pragma once

#include "convolution.h"

constexpr long kPlaces = 16;  // of a transformed 4x4 tile
constexpr long kTiles = 56;   // transformed at once: whole blocks of 14 and 28 rows

// The 2x2 tiles of the outputs of all images, in one row.
struct Tiling {
  long batch, size[2], out[2], padding[2];

  long down() const { return (out[0] + 1) / 2; }
  long across() const { return (out[1] + 1) / 2; }
  long count() const { return batch * down() * across(); }

  // Calls work(tile, places) for tiles [first, last): the `Width` x `Width` pixels at a tile's corner,
  // `shift` before it, of images [batch, bounds, pitch]; `outside` where none are.
  template <long Width, typename Float, typename Work>
  void each(long first, long last, const long* shift, const long* bounds, Float* images,
            long pitch, Float* outside, Work work) const {
    const long row_floats = bounds[1] * pitch;
    long column = first % across(), row = first / across() % down(), image = first / across() / down();
    Float* places[Width * Width];
    for (long tile = first; tile < last; tile++) {
      const long left = 2 * column - shift[1], top = 2 * row - shift[0];
      Float* corner = images + (image * bounds[0] + top) * row_floats + left * pitch;
      const bool whole = top >= 0 && left >= 0 && top + Width <= bounds[0] && left + Width <= bounds[1];
      for (long r = 0; r < Width; r++)
        for (long c = 0; c < Width; c++) {
          const bool inside = whole || (top + r >= 0 && top + r < bounds[0] && left + c >= 0 &&
                                        left + c < bounds[1]);
          places[r * Width + c] = inside ? corner + r * row_floats + c * pitch : outside;
        }
      work(tile, places);
      if (++column == across()) {
        column = 0;
        if (++row == down()) row = 0, image++;
      }
    }
  }
};

constexpr long kNoShift[2] = {0, 0};

inline bool suits_winograd(const Geometry& g) {
  return g.taps[0] == 3 && g.taps[1] == 3 && g.stride[0] == 1 && g.stride[1] == 1 &&
         g.dilation[0] == 1 && g.dilation[1] == 1 && g.padding[0] <= 2 && g.padding[1] <= 2 &&
         g.channels % 16 == 0 && g.filters % 16 == 0 && g.out[0] > 1 && g.out[1] > 1;
}

// Transformed pixels of tiles [first, last): [16][room][channels].
inline void transform_images(const Tiles& tiles, const Tiling& tiling, const float* x,
                             long channels, long pitch, long first, long last, long room,
                             const float* zeros, float* out) {
  tiling.each<4>(first, last, tiling.padding, tiling.size, x, pitch, zeros,
                 [&](long tile, const float* const* pixels) {
                   tiles.transform_image(pixels, channels, out + (tile - first) * channels,
                                         room * channels);
                 });
}

// y [.., filters] from x [.., channels] by a 3x3 kernel; `transposed` as in `pack`.
inline void winograd(Pool& pool, const Tiles& tiles, const Geometry& geometry,
                     const Tiling& tiling, bool transposed, const float* x, const float* kernel,
                     float* y) {
  const long channels = transposed ? geometry.filters : geometry.channels;
  const long filters = transposed ? geometry.channels : geometry.filters;
  const long block = 2 * tiles.vector, blocks = (filters + block - 1) / block;
  Gather order{x, 0, {0, 0}, channels, channels, {}, y, 0, 0, 0, filters};
  for (auto& axis : order.axis) axis.tap = transposed ? std::vector<long>{2, 1, 0}
                                                      : std::vector<long>{0, 1, 2};
  static thread_local Scratch packing;
  float* packed = packing.floats(kPlaces * channels * filters);
  parallel(pool, blocks, [&](long i) {
    static thread_local Scratch taps;
    const long f = i * block, count = std::min(block, filters - f);
    float* plain = taps.floats(9 * channels * count);
    pack(order, geometry, transposed, kernel, f, count, plain);
    tiles.transform_kernel(plain, channels * count, channels * count,
                           packed + kPlaces * channels * f, channels * count);
  });

  const long total = tiling.count(), groups = (total + kTiles - 1) / kTiles;
  const long splits = std::clamp(4 * pool.size() / groups, 1L, blocks);
  parallel(pool, groups * splits, [&](long task) {
    static thread_local Scratch scratch;
    const long split = task % splits, group = task / splits;
    const long first = group * total / groups, last = (group + 1) * total / groups;
    const long image_floats = kPlaces * kTiles * channels, sum_floats = kPlaces * kTiles * block;
    float* images = scratch.floats(image_floats + sum_floats + channels + filters);
    float *sums = images + image_floats, *zeros = sums + sum_floats, *unused = zeros + channels;
    std::fill_n(zeros, channels, 0.f);
    transform_images(tiles, tiling, x, channels, geometry.pitch[transposed], first, last, kTiles,
                     zeros, images);
    const long taps[1] = {0};
    for (long i = split * blocks / splits; i < (split + 1) * blocks / splits; i++) {
      const long f = i * block, count = std::min(block, filters - f);
      const int vectors = count < block ? 1 : 2;
      const long parts = (last - first + tiles.most[vectors] - 1) / tiles.most[vectors];
      for (long place = 0; place < kPlaces; place++)
        for (long part = 0; part < parts; part++) {
          const long a = part * (last - first) / parts, b = (part + 1) * (last - first) / parts;
          tiles.gather[vectors][b - a](images + (place * kTiles + a) * channels, channels, taps, 1,
                                       channels, 0,
                                       packed + kPlaces * channels * f + place * channels * count,
                                       sums + (place * kTiles + a) * count, count);
        }
      tiling.each<2>(first, last, kNoShift, tiling.out, y + f, geometry.pitch[!transposed], unused,
                     [&](long tile, float* const* outputs) {
                       tiles.transform_output(sums + (tile - first) * count, kTiles * count, count,
                                              outputs);
                     });
    }
  });
}

inline void winograd_convolve(Pool& pool, const Tiles& tiles, const Geometry& g, const float* x,
                              const float* kernel, float* y) {
  const Tiling tiling{g.batch, {g.height, g.width}, {g.out[0], g.out[1]},
                      {g.padding[0], g.padding[1]}};
  winograd(pool, tiles, g, tiling, false, x, kernel, y);
}

inline void winograd_image_gradient(Pool& pool, const Tiles& tiles, const Geometry& g,
                                    const float* dy, const float* kernel, float* dx) {
  const Tiling tiling{g.batch, {g.out[0], g.out[1]}, {g.height, g.width},
                      {2 - g.padding[0], 2 - g.padding[1]}};
  winograd(pool, tiles, g, tiling, true, dy, kernel, dx);
}

inline void winograd_kernel_gradient(Pool& pool, const Tiles& tiles,
                                     const Geometry& g, const float* x, const float* dy,
                                     float* dkernel) {
  const Tiling tiling{g.batch, {g.height, g.width}, {g.out[0], g.out[1]},
                      {g.padding[0], g.padding[1]}};
  const long block = 2 * tiles.vector, blocks = (g.filters + block - 1) / block;
  const long size = kPlaces * g.channels * g.filters;
  // Sums that no cache holds are read and written for each group: fewer groups.
  const long room = size > (1 << 20) ? 2 * kTiles : kTiles;
  const long total = tiling.count(), groups = (total + room - 1) / room;
  // As in `kernel_gradient`, the sums' order is the same for any number of threads.
  const long parts = g.channels * g.filters <= 64 * 64 ? std::min(8L, groups) : 1;
  const long slices = std::clamp<long>(parts > 1 ? 1 : pool.size(), 1L, blocks);

  static thread_local Scratch partial;
  float* sums = partial.floats(parts * size);
  parallel(pool, kPlaces, [&](long i) {
    std::fill(sums + i * parts * size / kPlaces, sums + (i + 1) * parts * size / kPlaces, 0.f);
  });
  parallel(pool, parts * slices, [&](long task) {
    static thread_local Scratch scratch;
    const long part = task / slices, slice = task % slices;
    const long low = slice * blocks / slices * block;
    const long high = std::min(g.filters, (slice + 1) * blocks / slices * block);
    const long width = high - low;
    const long image_floats = kPlaces * room * g.channels, spread_floats = kPlaces * room * width;
    float* images = scratch.floats(image_floats + spread_floats + g.channels + g.filters);
    float *spread = images + image_floats, *zeros = spread + spread_floats;
    std::fill_n(zeros, g.channels + g.filters, 0.f);
    for (long group = part * groups / parts; group < (part + 1) * groups / parts; group++) {
      const long first = group * total / groups, last = (group + 1) * total / groups;
      transform_images(tiles, tiling, x, g.channels, g.pitch[0], first, last, room, zeros, images);
      tiling.each<2>(first, last, kNoShift, tiling.out, dy + low, g.pitch[1], (const float*)zeros,
                     [&](long tile, const float* const* pixels) {
                       tiles.spread_output(pixels, width, spread + (tile - first) * width,
                                           room * width);
                     });
      const long x_strides[3] = {0, 0, g.channels}, dy_strides[3] = {0, 0, width};
      const long counts[3] = {1, 1, last - first};
      for (long place = 0; place < kPlaces; place++)
        for (long f = 0; f < width; f += block) {
          const int vectors = width - f < block ? 1 : 2;
          const long rows = (g.channels + tiles.most[vectors] - 1) / tiles.most[vectors];
          for (long i = 0; i < rows; i++) {
            const long a = i * g.channels / rows, b = (i + 1) * g.channels / rows;
            tiles.outer[vectors][b - a](
                images + place * room * g.channels + a, x_strides,
                spread + place * room * width + f, dy_strides, counts,
                sums + part * size + (place * g.channels + a) * g.filters + low + f, g.filters);
          }
        }
    }
  });
  const long plane = g.channels * g.filters, rows = g.channels;
  parallel(pool, std::min(16L, rows), [&](long i) {
    const long cuts = std::min(16L, rows);
    const long a = i * rows / cuts * g.filters, b = (i + 1) * rows / cuts * g.filters;
    for (long part = 1; part < parts; part++)
      for (long place = 0; place < kPlaces; place++)
        for (long j = place * plane + a; j < place * plane + b; j++) sums[j] += sums[part * size + j];
    tiles.collect_kernel(sums + a, plane, b - a, dkernel + a, plane);
  });
}
