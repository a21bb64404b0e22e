// Convolution and the image's gradient: both gather, for each place of the output, products of input
// pixels with rows of a kernel that is packed for the innermost loop.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "instruction_sets.h"
#include "parallel.h"

// Images are [batch, height, width, channels], the kernel [taps[0], taps[1], channels, filters]. From
// one pixel to the next it is `pitch` floats, of the image and of the output: more than there are
// channels and filters where they are some of all.
struct Geometry {
  long batch, height, width, channels, filters;
  long out[2], taps[2], stride[2], padding[2], dilation[2];
  long pitch[2];
};

// Along one axis: which taps are used, and where each reads, in input pixels from the first
// output's. Ascending in `offset`.
struct Axis {
  long count, step;  // outputs, and input pixels from one to the next
  std::vector<long> tap, offset;

  long first() const { return offset.front(); }
  long last() const { return (count - 1) * step + offset.back(); }
  bool adjoining() const {
    return offset.back() - offset.front() == static_cast<long>(offset.size()) - 1;
  }
};

struct Gather {
  const float* x;
  long batch, size[2], channels, pitch;
  Axis axis[2];
  float* y;
  long y_image, y_row, y_pixel, filters;
};

constexpr long kPage = 1024;  // floats
constexpr long kCache = 256 << 10;  // bytes of images that stay in the second cache beside a kernel

// Kernel rows for filters [f, f + count) in the order in which `gather` reads them.
inline void pack(const Gather& g, const Geometry& geometry, bool transposed, const float* kernel,
                 long f, long count, float* out) {
  for (long row : g.axis[0].tap)
    for (long column : g.axis[1].tap) {
      const float* tap = kernel + (row * geometry.taps[1] + column) * geometry.channels *
                                      geometry.filters;
      if (!transposed) {
        for (long c = 0; c < g.channels; c++, out += count)
          std::memcpy(out, tap + c * geometry.filters + f, count * sizeof(float));
        continue;
      }
      for (long c = 0; c < g.channels; c += 16)  // as many as share a cache line
        for (long i = 0; i < count; i++)
          for (long j = c; j < std::min(c + 16, g.channels); j++)
            out[j * count + i] = tap[(f + i) * geometry.filters + j];
      out += g.channels * count;
    }
}

// Input rows [first, last] of the padded image, columns as `axis[1]` reads them.
inline const float* padded(const Gather& g, long image, long first, long last, long columns,
                           float* out) {
  const long left = std::max(0L, -g.axis[1].first()), start = std::max(0L, g.axis[1].first());
  const long inside = std::max(0L, std::min(columns - left, g.size[1] - start));
  for (long row = first; row <= last; row++, out += columns * g.channels) {
    if (row < 0 || row >= g.size[0] || !inside) {
      std::fill_n(out, columns * g.channels, 0.f);
      continue;
    }
    const float* x = g.x + ((image * g.size[0] + row) * g.size[1] + start) * g.pitch;
    std::fill_n(out, left * g.channels, 0.f);
    if (g.pitch == g.channels)
      std::memcpy(out + left * g.channels, x, inside * g.channels * sizeof(float));
    else
      for (long column = 0; column < inside; column++)
        std::memcpy(out + (left + column) * g.channels, x + column * g.pitch,
                    g.channels * sizeof(float));
    std::fill_n(out + (left + inside) * g.channels, (columns - left - inside) * g.channels, 0.f);
  }
  return out - (last - first + 1) * columns * g.channels;
}

// Pixels under one tap, without those between them, `apart` floats apart.
inline void spread(const Gather& g, const float* x, long rows, long apart, float* out) {
  const long row_floats = g.axis[0].step * g.size[1] * g.pitch;
  for (long row = 0; row < rows; row++, x += row_floats)
    for (long column = 0; column < g.axis[1].count; column++, out += apart)
      std::memcpy(out, x + column * g.axis[1].step * g.pitch, g.channels * sizeof(float));
}

// What a task reads: floats from the first tap of one output to that of the next.
struct Steps {
  long image, row, pixel;
};

// One image's rows [first, last) for one block of filters; x is the first row's first tap.
inline void rows(const Tiles& tiles, const Gather& g, const float* x, const Steps& steps, long image,
                 long first, long last, const std::vector<long>& taps, long length, bool ahead,
                 const float* kernel, long f, int vectors) {
  const long columns = g.axis[1].count;
  const long parts = (columns + tiles.most[vectors] - 1) / tiles.most[vectors];
  for (long row = first; row < last; row++) {
    float* y = g.y + image * g.y_image + row * g.y_row + f;
    for (long part = 0; part < parts; part++) {
      const long begin = part * columns / parts, end = (part + 1) * columns / parts;
      tiles.gather[vectors][end - begin](
          x + (row - first) * steps.row + begin * steps.pixel, steps.pixel, taps.data(),
          static_cast<long>(taps.size()), length, ahead ? (end - begin) * steps.pixel : 0, kernel,
          y + begin * g.y_pixel, g.y_pixel);
    }
  }
}

inline void run(Pool& pool, const Tiles& tiles, const Gather& g,
                const Geometry& geometry, bool transposed, const float* kernel) {
  const Axis &down = g.axis[0], &across = g.axis[1];
  const bool pads = down.first() < 0 || across.first() < 0 || down.last() >= g.size[0] ||
                    across.last() >= g.size[1];
  const long columns = pads ? across.last() - across.first() + 1 : g.size[1];
  const long x_pixel = pads ? g.channels : g.pitch, x_row = columns * x_pixel;
  // One tap's pixels that lie a page apart share places of the first cache: they are moved nearer.
  const bool one = down.tap.size() == 1 && across.tap.size() == 1;
  const bool moves = one && !pads && across.step * g.pitch % kPage == 0;
  const long apart = g.channels + 16;
  // Taps that adjoin are one longer run of floats.
  const bool merge = across.adjoining() && (x_pixel == g.channels || across.tap.size() == 1);
  const long length = g.channels * (merge ? static_cast<long>(across.tap.size()) : 1);
  std::vector<long> taps;
  for (long row : down.offset)
    for (long column : across.offset) {
      taps.push_back((row - down.first()) * x_row + (column - across.first()) * x_pixel);
      if (merge) break;
    }
  const long per_filter = down.tap.size() * across.tap.size() * g.channels;
  const long block = 2 * tiles.vector, blocks = (g.filters + block - 1) / block;

  static thread_local Scratch packing;
  float* packed = packing.floats(per_filter * g.filters);
  parallel(pool, blocks, [&](long i) {
    const long f = i * block, count = std::min(block, g.filters - f);
    pack(g, geometry, transposed, kernel, f, count, packed + per_filter * f);
  });

  // A task is some images, or some rows of one; of all filters, or of some where tasks are few.
  const long image_bytes = g.size[0] * g.size[1] * g.channels * 4, wanted = 4 * pool.size();
  const long images = std::clamp(std::min(kCache / std::max(1L, image_bytes), g.batch / wanted),
                                 1L, g.batch);
  const long bands = std::clamp(
      std::max(image_bytes / (2 * kCache), g.batch < wanted ? wanted / g.batch : 1), 1L,
      (down.count + 3) / 4);
  const long groups = (g.batch + images - 1) / images;
  const long splits = std::clamp(wanted / (groups * bands), 1L, blocks);
  parallel(pool, groups * bands * splits, [&](long task) {
    static thread_local Scratch padding;
    const long split = task % splits, band = task / splits % bands, group = task / splits / bands;
    const long first = band * down.count / bands, last = (band + 1) * down.count / bands;
    const long begin = group * images, end = std::min(g.batch, begin + images);
    const long top = first * down.step + down.first();
    const long bottom = (last - 1) * down.step + down.offset.back();
    const long image_floats = pads ? (bottom - top + 1) * x_row : g.size[0] * x_row;
    const float* x = g.x + begin * image_floats + top * x_row + across.first() * x_pixel;
    Steps steps{image_floats, down.step * x_row, across.step * x_pixel};
    if (pads) {
      float* copy = padding.floats((end - begin) * image_floats);
      for (long image = begin; image < end; image++)
        padded(g, image, top, bottom, columns, copy + (image - begin) * image_floats);
      x = copy;
    } else if (moves) {
      steps = {(last - first) * across.count * apart, across.count * apart, apart};
      float* copy = padding.floats((end - begin) * steps.image);
      for (long image = begin; image < end; image++)
        spread(g, x + (image - begin) * image_floats, last - first, apart,
               copy + (image - begin) * steps.image);
      x = copy;
    }
    for (long i = split * blocks / splits; i < (split + 1) * blocks / splits; i++) {
      const long f = i * block;
      const int vectors = g.filters - f < block ? 1 : 2;
      for (long image = begin; image < end; image++)
        rows(tiles, g, x + (image - begin) * steps.image, steps, image, first, last, taps, length,
             one && !moves && f == 0, packed + per_filter * f, f, vectors);
    }
  });
}

// A 1x1 convolution of stride one knows no rows: as one image of rows that whole blocks fill, and
// what is left in a last row. Calls work(geometry, first pixel) for both.
template <typename Work>
void flat(const Geometry& geometry, Work work) {
  constexpr long kRow = 84;
  const long pixels = geometry.batch * geometry.height * geometry.width;
  for (const auto& [begin, rows, width] :
       {std::array<long, 3>{0, pixels / kRow, kRow},
        std::array<long, 3>{pixels / kRow * kRow, pixels % kRow ? 1L : 0L, pixels % kRow}}) {
    if (!rows) continue;
    Geometry part = geometry;
    part.batch = 1, part.height = part.out[0] = rows, part.width = part.out[1] = width;
    work(part, begin);
  }
}

inline bool is_flat(const Geometry& g) {
  return g.taps[0] == 1 && g.taps[1] == 1 && !g.padding[0] && !g.padding[1] && g.stride[0] == 1 &&
         g.stride[1] == 1;
}

inline void convolve(Pool& pool, const Tiles& tiles, const Geometry& geometry,
                     const float* x, const float* kernel, float* y) {
  if (is_flat(geometry) && geometry.batch > 1)
    return flat(geometry, [&](const Geometry& part, long begin) {
      convolve(pool, tiles, part, x + begin * geometry.pitch[0], kernel,
               y + begin * geometry.pitch[1]);
    });
  Gather g{x, geometry.batch, {geometry.height, geometry.width}, geometry.channels,
           geometry.pitch[0], {}, y, 0, 0, 0, geometry.filters};
  for (int a = 0; a < 2; a++) {
    g.axis[a] = {geometry.out[a], geometry.stride[a], {}, {}};
    for (long tap = 0; tap < geometry.taps[a]; tap++) {
      g.axis[a].tap.push_back(tap);
      g.axis[a].offset.push_back(tap * geometry.dilation[a] - geometry.padding[a]);
    }
  }
  g.y_pixel = geometry.pitch[1];
  g.y_row = geometry.out[1] * g.y_pixel;
  g.y_image = geometry.out[0] * g.y_row;
  run(pool, tiles, g, geometry, false, kernel);
}

// Image pixels that lie alike within the stride get their gradient from the same taps: each such
// phase is a convolution of dy with step one.
inline void image_gradient(Pool& pool, const Tiles& tiles, const Geometry& geometry,
                           const float* dy, const float* kernel, float* dx) {
  if (is_flat(geometry) && geometry.batch > 1)
    return flat(geometry, [&](const Geometry& part, long begin) {
      image_gradient(pool, tiles, part, dy + begin * geometry.pitch[1], kernel,
                     dx + begin * geometry.pitch[0]);
    });
  const long size[2] = {geometry.height, geometry.width};
  const long pixels = geometry.height * geometry.width, pitch = geometry.pitch[0];
  bool whole = true;  // whether every pixel is under some tap
  std::vector<Axis> axes[2];
  for (int a = 0; a < 2; a++)
    for (long phase = 0; phase < geometry.stride[a]; phase++) {
      Axis axis{(size[a] - phase + geometry.stride[a] - 1) / geometry.stride[a], 1, {}, {}};
      for (long tap = geometry.taps[a] - 1; tap >= 0; tap--) {
        const long reach = phase + geometry.padding[a] - tap * geometry.dilation[a];
        if (reach % geometry.stride[a]) continue;
        axis.tap.push_back(tap);
        axis.offset.push_back(reach / geometry.stride[a]);
      }
      whole = whole && (axis.count <= 0 || !axis.tap.empty());
      axes[a].push_back(axis);
    }
  if (!whole)
    parallel(pool, geometry.batch, [&](long i) {
      for (long pixel = i * pixels; pixel < (i + 1) * pixels; pixel++)
        std::fill_n(dx + pixel * pitch, geometry.channels, 0.f);
    });
  for (long row = 0; row < geometry.stride[0]; row++)
    for (long column = 0; column < geometry.stride[1]; column++) {
      const Axis &down = axes[0][row], &across = axes[1][column];
      if (down.tap.empty() || across.tap.empty() || down.count <= 0 || across.count <= 0) continue;
      Gather g{dy, geometry.batch, {geometry.out[0], geometry.out[1]}, geometry.filters,
               geometry.pitch[1], {down, across}, dx + (row * geometry.width + column) * pitch,
               pixels * pitch, geometry.stride[0] * geometry.width * pitch,
               geometry.stride[1] * pitch, geometry.channels};
      run(pool, tiles, g, geometry, true, kernel);
    }
}
