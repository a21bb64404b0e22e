// The innermost loops, for one instruction set: included once for each, inside a namespace of its
// own, with VECTOR (floats in a vector) and REGISTERS (vector registers) defined.
//
// Both keep an M x N block of vectors in registers over a whole sum, so that a product costs one
// fused multiply-add and little else: M broadcasts and N loads serve M * N products. Written with
// the compilers' vector types, which GCC and Clang turn into each instruction set's own.

typedef float Vec __attribute__((vector_size(4 * VECTOR)));
typedef int Numbers __attribute__((vector_size(4 * VECTOR)));
typedef float Unaligned __attribute__((vector_size(4 * VECTOR), aligned(4), may_alias));

inline __attribute__((always_inline)) Vec load(const float* p) { return *(const Unaligned*)p; }
inline __attribute__((always_inline)) void store(float* p, Vec v) { *(Unaligned*)p = v; }

// y[m] = sum over taps t and i < length of x[m * step + taps[t] + i] * kernel[t][i]. Asks for the
// pixels `ahead` floats further on, if not 0, and for y, so that memory works while this computes.
template <int M, int N>
void gather(const float* x, long step, const long* taps, long tap_count, long length, long ahead,
            const float* kernel, float* y, long y_step) {
  // Five pixels to a pointer: more pointers, or more multiples of the step, run out of registers.
  constexpr int kGroups = (M + 4) / 5;
  constexpr long kLine = 16;
  Vec sum[M][N];
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) sum[m][n] = Vec{};
  const long step3 = 3 * step;
  if (y_step >= 128)  // nearer ones the processor foresees
    for (int m = 0; m < M; m++)
      for (int n = 0; n < N; n++) __builtin_prefetch(y + m * y_step + n * VECTOR, 1);
  for (long t = 0; t < tap_count; t++) {
    const float* pixel[kGroups];
    for (int g = 0; g < kGroups; g++) pixel[g] = x + taps[t] + 5 * g * step;
    for (long begin = 0; begin < length; begin += kLine) {
      const long end = begin + kLine < length ? begin + kLine : length;
      if (ahead)
        for (int m = 0; m < M; m++) __builtin_prefetch(x + m * step + ahead + begin);
      for (long i = begin; i < end; i++) {
        Vec row[N];
        for (int n = 0; n < N; n++) row[n] = load(kernel + n * VECTOR);
        kernel += N * VECTOR;
#pragma GCC unroll 32
        for (int m = 0; m < M; m++) {
          const float* p = pixel[m / 5];
          const float value = m % 5 == 0   ? p[i]
                              : m % 5 == 1 ? p[i + step]
                              : m % 5 == 2 ? p[i + 2 * step]
                              : m % 5 == 3 ? p[i + step3]
                                           : p[i + 4 * step];
          for (int n = 0; n < N; n++) sum[m][n] += value * row[n];
        }
      }
    }
  }
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) store(y + m * y_step + n * VECTOR, sum[m][n]);
}

// out[m] += sum over images, rows and columns of x[m] * dy; the strides are in that order.
template <int M, int N>
void outer(const float* x, const long* x_strides, const float* dy, const long* dy_strides,
           const long* counts, float* out, long out_step) {
  Vec sum[M][N];
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) sum[m][n] = load(out + m * out_step + n * VECTOR);
  for (long b = 0; b < counts[0]; b++)
    for (long r = 0; r < counts[1]; r++) {
      const float* p = x + b * x_strides[0] + r * x_strides[1];
      const float* d = dy + b * dy_strides[0] + r * dy_strides[1];
      for (long c = 0; c < counts[2]; c++) {
        Vec row[N];
        for (int n = 0; n < N; n++) row[n] = load(d + n * VECTOR);
#pragma GCC unroll 32
        for (int m = 0; m < M; m++)
          for (int n = 0; n < N; n++) sum[m][n] += p[m] * row[n];
        p += x_strides[2];
        d += dy_strides[2];
      }
    }
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) store(out + m * out_step + n * VECTOR, sum[m][n]);
}

// Rows of M floats, `step` apart, one after the other.
template <int M>
void copy(const float* x, long step, long count, float* out) {
  for (long i = 0; i < count; i++, x += step, out += M) __builtin_memcpy(out, x, M * sizeof(float));
}

// `count` rows of `width` floats, `step` apart, in blocks of two vectors: [block][count][2 * VECTOR].
inline void split(const float* x, long step, long count, long width, float* out) {
  for (long i = 0; i < count; i++, x += step) {
    long f = 0;
    for (; f + 2 * VECTOR <= width; f += 2 * VECTOR) {
      float* o = out + f * count + i * 2 * VECTOR;
      store(o, load(x + f));
      store(o + VECTOR, load(x + f + VECTOR));
    }
    if (f < width) store(out + f * count + i * VECTOR, load(x + f));
  }
}

// Winograd's F(2x2, 3x3) (Lavin and Gray 2015, Fast algorithms for convolutional neural networks,
// section 4.1): four outputs of a 3x3 convolution by 16 products instead of 36. The transforms act
// alike on `count` channels, a multiple of VECTOR; the 16 places are `stride` floats apart.

// out = B' pixels B, of a 4x4 tile of pixels.
inline void transform_image(const float* const* pixels, long count, float* out, long stride) {
  for (long i = 0; i < count; i += VECTOR) {
    Vec d[4][4], e[4][4];
    for (int r = 0; r < 4; r++)
      for (int c = 0; c < 4; c++) d[r][c] = load(pixels[4 * r + c] + i);
    for (int c = 0; c < 4; c++) {
      e[0][c] = d[0][c] - d[2][c];
      e[1][c] = d[1][c] + d[2][c];
      e[2][c] = d[2][c] - d[1][c];
      e[3][c] = d[1][c] - d[3][c];
    }
    for (int r = 0; r < 4; r++) {
      float* o = out + 4 * r * stride + i;
      store(o, e[r][0] - e[r][2]);
      store(o + stride, e[r][1] + e[r][2]);
      store(o + 2 * stride, e[r][2] - e[r][1]);
      store(o + 3 * stride, e[r][1] - e[r][3]);
    }
  }
}

// out = G kernel G', of 3x3 taps that are `tap` floats apart.
inline void transform_kernel(const float* kernel, long tap, long count, float* out, long stride) {
  for (long i = 0; i < count; i += VECTOR) {
    Vec e[4][3];
    for (int c = 0; c < 3; c++) {
      const Vec g0 = load(kernel + c * tap + i), g1 = load(kernel + (3 + c) * tap + i),
                g2 = load(kernel + (6 + c) * tap + i);
      const Vec ends = 0.5f * (g0 + g2), middle = 0.5f * g1;
      e[0][c] = g0;
      e[1][c] = ends + middle;
      e[2][c] = ends - middle;
      e[3][c] = g2;
    }
    for (int r = 0; r < 4; r++) {
      float* o = out + 4 * r * stride + i;
      const Vec ends = 0.5f * (e[r][0] + e[r][2]), middle = 0.5f * e[r][1];
      store(o, e[r][0]);
      store(o + stride, ends + middle);
      store(o + 2 * stride, ends - middle);
      store(o + 3 * stride, e[r][2]);
    }
  }
}

// outputs = A' m A: a 2x2 tile, each place where its pointer says.
inline void transform_output(const float* m, long stride, long count, float* const* outputs) {
  for (long i = 0; i < count; i += VECTOR) {
    Vec e[2][4];
    for (int c = 0; c < 4; c++) {
      const Vec m0 = load(m + c * stride + i), m1 = load(m + (4 + c) * stride + i),
                m2 = load(m + (8 + c) * stride + i), m3 = load(m + (12 + c) * stride + i);
      e[0][c] = m0 + m1 + m2;
      e[1][c] = m1 - m2 - m3;
    }
    for (int r = 0; r < 2; r++) {
      store(outputs[2 * r] + i, e[r][0] + e[r][1] + e[r][2]);
      store(outputs[2 * r + 1] + i, e[r][1] - e[r][2] - e[r][3]);
    }
  }
}

// out = A pixels A', of a 2x2 tile: the transpose of `transform_output`.
inline void spread_output(const float* const* pixels, long count, float* out, long stride) {
  for (long i = 0; i < count; i += VECTOR) {
    Vec e[4][2];
    for (int c = 0; c < 2; c++) {
      const Vec d0 = load(pixels[c] + i), d1 = load(pixels[2 + c] + i);
      e[0][c] = d0;
      e[1][c] = d0 + d1;
      e[2][c] = d0 - d1;
      e[3][c] = -d1;
    }
    for (int r = 0; r < 4; r++) {
      float* o = out + 4 * r * stride + i;
      store(o, e[r][0]);
      store(o + stride, e[r][0] + e[r][1]);
      store(o + 2 * stride, e[r][0] - e[r][1]);
      store(o + 3 * stride, -e[r][1]);
    }
  }
}

// out = G' u G, 3x3 taps that are `tap` floats apart: the transpose of `transform_kernel`.
inline void collect_kernel(const float* u, long stride, long count, float* out, long tap) {
  for (long i = 0; i < count; i += VECTOR) {
    Vec e[3][4];
    for (int c = 0; c < 4; c++) {
      const Vec u0 = load(u + c * stride + i), u1 = load(u + (4 + c) * stride + i),
                u2 = load(u + (8 + c) * stride + i), u3 = load(u + (12 + c) * stride + i);
      const Vec sum = 0.5f * (u1 + u2);
      e[0][c] = u0 + sum;
      e[1][c] = 0.5f * (u1 - u2);
      e[2][c] = sum + u3;
    }
    for (int r = 0; r < 3; r++) {
      const Vec sum = 0.5f * (e[r][1] + e[r][2]);
      store(out + 3 * r * tap + i, e[r][0] + sum);
      store(out + (3 * r + 1) * tap + i, 0.5f * (e[r][1] - e[r][2]));
      store(out + (3 * r + 2) * tap + i, sum + e[r][3]);
    }
  }
}

// Adds dy to the gradient of the first largest of the taps, or of the first NaN, in each channel.
inline void pick(const float* const* taps, float* const* gradients, long tap_count, const float* dy,
                 long count) {
  long i = 0;
  for (; i + VECTOR <= count; i += VECTOR) {
    Vec best = load(taps[0] + i);
    Numbers winner = {};
    for (int t = 1; t < tap_count; t++) {
      const Vec tap = load(taps[t] + i);
      const Numbers wins = (tap > best) | ((tap != tap) & (best == best));
      best = wins ? tap : best;
      winner = wins ? Numbers{} + t : winner;
    }
    const Vec d = load(dy + i);
    for (int t = 0; t < tap_count; t++)
      store(gradients[t] + i, load(gradients[t] + i) + (winner == t ? d : Vec{}));
  }
  for (; i < count; i++) {
    long winner = 0;
    for (long t = 1; t < tap_count; t++) {
      const float tap = taps[t][i], best = taps[winner][i];
      if (tap > best || (tap != tap && best == best)) winner = t;
    }
    gradients[winner][i] += dy[i];
  }
}

// What is left of the registers holds a row of N vectors and a broadcast.
template <int N>
constexpr int kMost = (REGISTERS - N - 2) / N;

template <int N, int... M>
void fill(Tiles& tiles, std::integer_sequence<int, M...>) {
  tiles.most[N] = sizeof...(M);
  ((tiles.gather[N][M + 1] = gather<M + 1, N>), ...);
  ((tiles.outer[N][M + 1] = outer<M + 1, N>), ...);
  ((tiles.copy[M + 1] = copy<M + 1>), ...);
}

inline Tiles make() {
  Tiles tiles{VECTOR, {}, {}, {}, {}, split, transform_image, transform_kernel, transform_output,
              spread_output, collect_kernel, pick};
  fill<1>(tiles, std::make_integer_sequence<int, kMost<1>>());
  fill<2>(tiles, std::make_integer_sequence<int, kMost<2>>());
  tiles.copy[2 * VECTOR] = copy<2 * VECTOR>;
  return tiles;
}
