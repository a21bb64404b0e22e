/* Resampling of uint8 pixels as Pillow does it, bit for bit: weights in 22-bit fixed point, rounded
   between the two passes. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAS_AVX2 1
#define AVX2 __attribute__((target("avx2")))
#endif

#define PRECISION 22 /* 32 bits, less 8 of the pixel, less 2 for filters that overshoot */
#define HALF (1 << (PRECISION - 1))
/* How many pixels of the region each output pixel weighs, and by how much. */
typedef struct {
  int taps;    /* entries of a row of `weights` */
  int low;     /* the first and one past the last pixel that any output needs */
  int high;
  int *first;  /* [size] */
  int *count;  /* [size] */
  int32_t *weights; /* [size, taps] */
} Filter;

static double triangle(double x) {
  x = fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

static double cubic(double x) { /* Keys 1981 with a = -0.5 */
  x = fabs(x);
  if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * -0.5;
  return 0.0;
}

static void free_filter(Filter *f) {
  free(f->first);
  free(f->count);
  free(f->weights);
}

/* The weights of outputs offset..offset+size-1 where `length` pixels are resized to `target`. */
static int make_filter(Filter *f, int length, int target, int offset, int size, int bicubic) {
  double scale = (double)length / target;
  double stretch = scale < 1.0 ? 1.0 : scale;
  double support = (bicubic ? 2.0 : 1.0) * stretch, inverse = 1.0 / stretch;
  f->first = malloc(sizeof(int) * (size_t)size);
  f->count = malloc(sizeof(int) * (size_t)size);
  if (!f->first || !f->count) return 0;
  f->low = length;
  for (int i = 0; i < size; i++) {
    double centre = (offset + i + 0.5) * scale;
    int first = (int)(centre - support + 0.5), last = (int)(centre + support + 0.5);
    f->first[i] = first = first < 0 ? 0 : first;
    f->count[i] = (last > length ? length : last) - first;
    if (f->count[i] > f->taps) f->taps = f->count[i];
    if (first < f->low) f->low = first;
    if (first + f->count[i] > f->high) f->high = first + f->count[i];
  }
  f->taps += f->taps & 1; /* vectors take two at once */
  f->weights = calloc((size_t)size * (size_t)f->taps, sizeof(int32_t));
  double *exact = malloc(sizeof(double) * (size_t)f->taps);
  if (!f->weights || !exact) {
    free(exact);
    return 0;
  }
  for (int i = 0; i < size; i++) {
    double start = f->first[i] - (offset + i + 0.5) * scale + 0.5, sum = 0.0;
    for (int t = 0; t < f->count[i]; t++) {
      exact[t] = bicubic ? cubic((t + start) * inverse) : triangle((t + start) * inverse);
      sum += exact[t];
    }
    for (int t = 0; t < f->count[i]; t++) {
      double w = (sum != 0.0 ? exact[t] / sum : exact[t]) * (1 << PRECISION);
      f->weights[(size_t)i * f->taps + t] = (int32_t)(w < 0 ? w - 0.5 : w + 0.5);
    }
  }
  free(exact);
  return 1;
}

static inline uint8_t clip(int32_t value) {
  value >>= PRECISION;
  return value < 0 ? 0 : value > 255 ? 255 : (uint8_t)value;
}

/* One row of 4-byte pixels, resized to `size` pixels of 3 bytes. It begins at pixel f->low. Every
   output takes the same number of taps, the last with weight 0: a loop of changing length costs
   more in mispredicted branches than the multiplications do. */
static void resize_row(const uint8_t *row, uint8_t *out, const Filter *f, int size) {
  for (int i = 0; i < size; i++, out += 3) {
    const uint8_t *pixel = row + 4 * (size_t)(f->first[i] - f->low);
    const int32_t *w = f->weights + (size_t)i * f->taps;
    int32_t red = HALF, green = HALF, blue = HALF;
    for (int t = 0; t < f->taps; t++, pixel += 4) {
      red += pixel[0] * w[t];
      green += pixel[1] * w[t];
      blue += pixel[2] * w[t];
    }
    out[0] = clip(red), out[1] = clip(green), out[2] = clip(blue);
  }
}

#ifdef HAS_AVX2
/* The same with two taps at once: lanes 0-3 are the even ones', 4-7 the odd ones'. */
AVX2 static void resize_row_avx2(const uint8_t *row, uint8_t *out, const Filter *f, int size) {
  const __m256i half = _mm256_setr_epi32(HALF, HALF, HALF, 0, 0, 0, 0, 0);
  const int32_t *w = f->weights;
  for (int i = 0; i < size; i++) {
    const uint8_t *pixel = row + 4 * (size_t)(f->first[i] - f->low);
    __m256i sum = half;
    for (int t = 0; t < f->taps; t += 2, w += 2, pixel += 8) {
      __m256i values = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)pixel));
      __m256i even_odd = _mm256_permutevar8x32_epi32(
          _mm256_castsi128_si256(_mm_loadl_epi64((const __m128i *)w)),
          _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
      sum = _mm256_add_epi32(sum, _mm256_mullo_epi32(values, even_odd));
    }
    __m128i total = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    total = _mm_srai_epi32(total, PRECISION);
    total = _mm_packus_epi16(_mm_packs_epi32(total, total), total);
    int32_t bytes = _mm_cvtsi128_si32(total);
    /* The fourth byte is overwritten by the next pixel. */
    if (i + 1 < size)
      memcpy(out + 3 * (size_t)i, &bytes, 4);
    else
      memcpy(out + 3 * (size_t)i, &bytes, 3);
  }
}
#endif

/* The same for gray. */
static void resize_gray_row(const uint8_t *row, uint8_t *out, const Filter *f, int size) {
  for (int i = 0; i < size; i++) {
    const uint8_t *pixel = row + (f->first[i] - f->low);
    const int32_t *w = f->weights + (size_t)i * f->taps;
    int32_t sum = HALF;
    for (int t = 0; t < f->taps; t++) sum += pixel[t] * w[t];
    out[i] = clip(sum);
  }
}

/* One output row as the weighted sum of `count` rows of `bytes` bytes. */
static inline __attribute__((always_inline)) void sum_rows(const uint8_t *rows, size_t bytes,
                                                           uint8_t *restrict out, const int32_t *w,
                                                           int count) {
  enum { BLOCK = 64 };
  int32_t sum[BLOCK];
  for (size_t start = 0; start < bytes; start += BLOCK) {
    size_t n = bytes - start < BLOCK ? bytes - start : BLOCK;
    for (int i = 0; i < BLOCK; i++) sum[i] = HALF;
    for (int t = 0; t < count; t++) {
      const uint8_t *row = rows + (size_t)t * bytes + start;
      if (n == BLOCK)
        for (int i = 0; i < BLOCK; i++) sum[i] += row[i] * w[t];
      else
        for (size_t i = 0; i < n; i++) sum[i] += row[i] * w[t];
    }
    for (size_t i = 0; i < n; i++) out[start + i] = clip(sum[i]);
  }
}

static void resize_column(const uint8_t *rows, size_t bytes, uint8_t *out, const int32_t *w,
                          int count) {
  sum_rows(rows, bytes, out, w, count);
}

#ifdef HAS_AVX2
/* The compiler's own vectors, twice as wide. */
AVX2 static void resize_column_avx2(const uint8_t *rows, size_t bytes, uint8_t *out,
                                    const int32_t *w, int count) {
  sum_rows(rows, bytes, out, w, count);
}
#endif

