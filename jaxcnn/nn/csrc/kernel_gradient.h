// The kernel's gradient: for each tap, the sum over all pixels of input times output gradient.
#pragma once

#include "convolution.h"
#include "pointwise_gradient.h"

// Rows of the kernel, as [taps * channels, filters], that read neighbouring floats of the images.
struct Run {
  long row, length;
  long offset[2];  // input pixels from output (0, 0), down and across
};

// Outputs that are added at once: some rows of one image, or some whole images.
struct Chunk {
  long image, images, row, rows;
};

// Input and output gradient of a chunk, perhaps copies of parts of their channels.
struct Operands {
  const float *x, *dy;
  long height, width, x_channels, dy_rows, dy_filters;
};

constexpr long kPixels = 384;  // of a chunk: their blocks of channels and filters stay in the cache

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

inline std::vector<Chunk> chunks(const Geometry& g) {
  std::vector<Chunk> all;
  const long pixels = g.out[0] * g.out[1];
  if (pixels <= kPixels) {
    const long images = kPixels / pixels;
    for (long image = 0; image < g.batch; image += images)
      all.push_back({image, std::min(images, g.batch - image), 0, g.out[0]});
    return all;
  }
  const long bands = (pixels + kPixels - 1) / kPixels;
  for (long image = 0; image < g.batch; image++)
    for (long band = 0; band < bands; band++) {
      const long row = band * g.out[0] / bands, end = (band + 1) * g.out[0] / bands;
      if (end > row) all.push_back({image, 1, row, end - row});
    }
  return all;
}

// Adds a chunk to rows [begin, end) of a run, filters [f, ..); x and dy begin at these.
inline void add(const Tiles& tiles, const Geometry& g, const Operands& in, const Chunk& chunk,
                const Run& run, long begin, long end, long f, int vectors, float* out) {
  const long size[2] = {in.height, in.width};
  const long range[2][2] = {{chunk.row, chunk.row + chunk.rows}, {0, g.out[1]}};
  long from[2], counts[3] = {chunk.images, 0, 0};
  for (int a = 0; a < 2; a++) {
    // Outputs whose pixel under this tap is inside the image.
    const long low = -run.offset[a], high = size[a] - 1 - run.offset[a];
    from[a] = std::max(range[a][0], low <= 0 ? 0 : (low + g.stride[a] - 1) / g.stride[a]);
    counts[1 + a] = std::min(range[a][1], high < 0 ? 0 : high / g.stride[a] + 1) - from[a];
    if (counts[1 + a] <= 0) return;
  }
  const long x_row = in.width * in.x_channels, dy_row = g.out[1] * in.dy_filters;
  const long x_strides[3] = {in.height * x_row, g.stride[0] * x_row, g.stride[1] * in.x_channels};
  const long dy_strides[3] = {in.dy_rows * dy_row, dy_row, in.dy_filters};
  const float* x = in.x + (from[0] * g.stride[0] + run.offset[0]) * x_row +
                   (from[1] * g.stride[1] + run.offset[1]) * in.x_channels;
  const float* dy = in.dy + (from[0] - chunk.row) * dy_row + from[1] * in.dy_filters;
  tiles.outer[vectors][end - begin](x, x_strides, dy, dy_strides, counts,
                                    out + (run.row + begin) * g.filters + f, g.filters);
}

// The part of the gradient that one task adds up.
struct Share {
  long first, last;            // chunks
  long begin, end;             // rows of each run
  long first_block, last_block;  // of filters
};

class KernelSum {
 public:
  KernelSum(const Tiles& tiles, const Geometry& g, const float* x, const float* dy)
      : tiles_(tiles), g_(g), x_(x), dy_(dy), padded_(pads(g)),
        runs_(runs(g, padded_)), chunks_(chunks(g)), block_(2 * tiles.vector) {}

  long chunk_count() const { return static_cast<long>(chunks_.size()); }
  long length() const { return runs_[0].length; }
  long blocks() const { return (g_.filters + block_ - 1) / block_; }
  bool padded() const { return padded_; }

  void add_share(const Share& share, float* sums) const {
    static thread_local Scratch memory;
    const long most_rows = kPixels + g_.out[1];  // a chunk's pixels, at most
    const long image_floats = padded_ ? (g_.height + 2 * g_.padding[0]) * padded_width() * g_.channels
                                      : 0;
    const long images = std::max(1L, kPixels / (g_.out[0] * g_.out[1]));
    float* dy_copy = memory.floats(most_rows * block_ + images * image_floats);
    float* x_copy = dy_copy + most_rows * block_;
    for (long i = share.first; i < share.last; i++) {
      const Chunk& chunk = chunks_[i];
      Operands in{x_ + chunk.image * g_.height * g_.width * g_.pitch[0], nullptr, g_.height,
                  g_.width, g_.pitch[0], chunk.rows, 0};
      if (padded_) {
        pad(chunk, x_copy);
        in.x = x_copy, in.x_channels = g_.channels;
        in.height += 2 * g_.padding[0], in.width = padded_width();
      }
      add_blocks(share, chunk, in, dy_copy, sums);
    }
  }

 private:
  // Few channels fill a block of registers only together with their neighbours' in the line, and a
  // line is whole only in a padded copy.
  static bool pads(const Geometry& g) {
    return g.channels < 32 && g.dilation[1] == 1 && g.taps[1] > 1;
  }

  long padded_width() const { return g_.width + 2 * g_.padding[1]; }

  void pad(const Chunk& chunk, float* out) const {
    Gather whole{x_, g_.batch, {g_.height, g_.width}, g_.channels, g_.pitch[0], {}, nullptr, 0, 0,
                 0, 0};
    whole.axis[1] = {padded_width(), 1, {0}, {-g_.padding[1]}};
    const long row_floats = padded_width() * g_.channels;
    const long first = chunk.row * g_.stride[0];  // of the padded rows, and only those it reads
    const long last = (chunk.row + chunk.rows - 1) * g_.stride[0] +
                      (g_.taps[0] - 1) * g_.dilation[0];
    for (long i = 0; i < chunk.images; i++)
      ::padded(whole, chunk.image + i, first - g_.padding[0], last - g_.padding[0], padded_width(),
               out + (i * (g_.height + 2 * g_.padding[0]) + first) * row_floats);
  }

  void add_blocks(const Share& share, const Chunk& chunk, Operands in, float* dy_copy,
                  float* sums) const {
    const long dy_image = g_.out[0] * g_.out[1] * g_.pitch[1];
    const float* dy = dy_ + chunk.image * dy_image + chunk.row * g_.out[1] * g_.pitch[1];
    for (long i = share.first_block; i < share.last_block; i++) {
      const long f = i * block_, count = std::min(block_, g_.filters - f);
      const int vectors = count < block_ ? 1 : 2;
      in.dy = dy, in.dy_filters = g_.pitch[1], in.dy_rows = g_.out[0];
      if (g_.pitch[1] > count) {
        for (long image = 0; image < chunk.images; image++)
          tiles_.copy[count](dy + image * dy_image + f, g_.pitch[1], chunk.rows * g_.out[1],
                             dy_copy + image * chunk.rows * g_.out[1] * count);
        in.dy = dy_copy, in.dy_filters = count, in.dy_rows = chunk.rows;
      }
      const long rows = share.end - share.begin;
      const long parts = (rows + tiles_.most[vectors] - 1) / tiles_.most[vectors];
      for (long part = 0; part < parts; part++) {
        const long a = part * rows / parts, b = (part + 1) * rows / parts;
        Operands piece = in;
        piece.x += share.begin + a;
        for (const Run& run : runs_)
          add(tiles_, g_, piece, chunk, run, share.begin + a, share.begin + b, f, vectors, sums);
      }
    }
  }

  const Tiles& tiles_;
  const Geometry& g_;
  const float *x_, *dy_;
  const bool padded_;
  const std::vector<Run> runs_;
  const std::vector<Chunk> chunks_;
  const long block_;
};

inline void kernel_gradient(Pool& pool, const Tiles& tiles, const Geometry& g,
                            const float* x, const float* dy, float* dkernel) {
  if (PointwiseGradient::suits(g)) return PointwiseGradient(tiles, g, x, dy).run(pool, dkernel);
  const KernelSum gradient(tiles, g, x, dy);
  const long size = g.taps[0] * g.taps[1] * g.channels * g.filters;
  // A small gradient is summed for parts of the pixels and these are added; a large one is cut
  // itself. Neither depends on the number of threads, so nor do the sums.
  const bool by_pixels = gradient.padded() || (size <= kCache / 4 && gradient.chunk_count() >= 8);
  const long parts = by_pixels ? std::min(16L, gradient.chunk_count()) : 1;
  const long pieces = by_pixels ? 1 : (gradient.length() + 51) / 52;
  const long slices = by_pixels ? 1 : std::clamp(4 * pool.size() / pieces, 1L,
                                                 gradient.blocks());
  static thread_local Scratch partial;
  float* sums = parts > 1 ? partial.floats(parts * size) : dkernel;
  parallel(pool, 16, [&](long i) {
    std::fill(sums + i * parts * size / 16, sums + (i + 1) * parts * size / 16, 0.f);
  });
  parallel(pool, parts * pieces * slices, [&](long task) {
    const long part = task / pieces / slices, piece = task / slices % pieces, slice = task % slices;
    const long chunks = gradient.chunk_count(), length = gradient.length();
    gradient.add_share({part * chunks / parts, (part + 1) * chunks / parts,
                        piece * length / pieces, (piece + 1) * length / pieces,
                        slice * gradient.blocks() / slices,
                        (slice + 1) * gradient.blocks() / slices},
                       sums + part * size);
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
