// The innermost loops, for one instruction set: included once for each, inside a namespace of its
// own, with VECTOR (floats in a vector) and REGISTERS (vector registers) defined.
//
// Both keep an M x N block of vectors in registers over a whole sum, so that a product costs one
// fused multiply-add and little else: M broadcasts and N loads serve M * N products. Written with
// the compilers' vector types, which GCC and Clang turn into each instruction set's own.

typedef float Vec __attribute__((vector_size(4 * VECTOR)));
typedef float Unaligned __attribute__((vector_size(4 * VECTOR), aligned(4), may_alias));

inline __attribute__((always_inline)) Vec load(const float* p) { return *(const Unaligned*)p; }
inline __attribute__((always_inline)) void store(float* p, Vec v) { *(Unaligned*)p = v; }

// y[m] = sum over taps t and i < length of x[m * step + taps[t] + i] * kernel[t][i].
template <int M, int N>
void gather(const float* x, long step, const long* taps, long tap_count, long length,
            const float* kernel, float* y, long y_step) {
  // Five pixels to a pointer: more pointers, or more multiples of the step, run out of registers.
  constexpr int kGroups = (M + 4) / 5;
  Vec sum[M][N];
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) sum[m][n] = Vec{};
  const long step3 = 3 * step;
  for (long t = 0; t < tap_count; t++) {
    const float* pixel[kGroups];
    for (int g = 0; g < kGroups; g++) pixel[g] = x + taps[t] + 5 * g * step;
    for (long i = 0; i < length; i++) {
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

// What is left of the registers holds a row of N vectors and a broadcast.
template <int N>
constexpr int kMost = (REGISTERS - N - 2) / N;

template <int N, int... M>
void fill(Tiles& tiles, std::integer_sequence<int, M...>) {
  tiles.most[N] = sizeof...(M);
  ((tiles.gather[N][M + 1] = gather<M + 1, N>), ...);
  ((tiles.outer[N][M + 1] = outer<M + 1, N>), ...);
}

inline Tiles make() {
  Tiles tiles{VECTOR, {}, {}, {}};
  fill<1>(tiles, std::make_integer_sequence<int, kMost<1>>());
  fill<2>(tiles, std::make_integer_sequence<int, kMost<2>>());
  return tiles;
}
