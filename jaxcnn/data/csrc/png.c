/* Decodes plain PNGs without Python's lock: 8-bit gray, RGB or RGBA, not interlaced.

   Small records (digits, CIFAR) are PNGs, and Pillow spends most of its time on them in Python. What
   has any chunk that could change its meaning (a palette, transparency, EXIF, text), a wrong check
   sum, or pixels missing or left over is Pillow's. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "whole.h"

typedef struct {
  uint32_t width, height;
  int channels; /* in the file: 1, 3, or 4 with an alpha that is dropped */
  size_t body;  /* where the chunks behind the header begin */
} Header;

static uint32_t u32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Length of the chunk at `at`; -1 where it reaches past the end or is damaged. */
static int64_t chunk(const uint8_t *data, size_t size, size_t at) {
  if (size < at || size - at < 12) return -1;
  size_t length = u32(data + at);
  if (length > size - at - 12) return -1;
  uint32_t sum = (uint32_t)crc32(0, data + at + 4, (uInt)length + 4);
  return sum == u32(data + at + 8 + length) ? (int64_t)length : -1;
}

static int open_png(const uint8_t *data, size_t size, Header *h) {
  static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', 0x0D, 0x0A, 0x1A, 0x0A};
  if (size < 8 || memcmp(data, signature, 8)) return 0;
  if (chunk(data, size, 8) != 13 || memcmp(data + 12, "IHDR", 4)) return 0;
  const uint8_t *p = data + 16;
  h->width = u32(p), h->height = u32(p + 4), h->body = 8 + 12 + 13;
  h->channels = p[9] == 0 ? 1 : p[9] == 2 ? 3 : p[9] == 6 ? 4 : 0;
  return h->channels && p[8] == 8 && !p[10] && !p[11] && !p[12] && h->width && h->height;
}

/* Chunks that say nothing of the pixels' meaning to Pillow. */
static int is_idle(const uint8_t *name) {
  static const char idle[][5] = {"gAMA", "cHRM", "sRGB", "pHYs", "tIME", "bKGD", "sBIT", "iCCP"};
  for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
    if (!memcmp(name, idle[i], 4)) return 1;
  return 0;
}

/* Inflates the image data to exactly `wanted` bytes. */
static int inflate_all(z_stream *z, const uint8_t *data, size_t size, size_t at, uint8_t *rows,
                       size_t wanted) {
  int state = Z_OK, begun = 0, over = 0;
  z->next_out = rows, z->avail_out = (uInt)wanted;
  for (;;) {
    int64_t length = chunk(data, size, at);
    if (length < 0) return 0;
    const uint8_t *name = data + at + 4;
    if (!memcmp(name, "IDAT", 4)) {
      if (over) return 0;
      begun = 1;
      z->next_in = (Bytef *)(name + 4), z->avail_in = (uInt)length;
      if (length && state == Z_OK) state = inflate(z, Z_NO_FLUSH);
      if ((state != Z_OK && state != Z_STREAM_END) || z->avail_in) return 0;
    } else if (!memcmp(name, "IEND", 4)) {
      return begun && state == Z_STREAM_END && !z->avail_out;
    } else if (!is_idle(name)) {
      return 0;
    } else {
      over = begun;
    }
    at += 12 + (size_t)length;
  }
}

static uint8_t paeth(int left, int up, int corner) {
  int a = abs(up - corner), b = abs(left - corner), c = abs(left + up - 2 * corner);
  return (uint8_t)(a <= b && a <= c ? left : b <= c ? up : corner);
}

/* Undoes a row's filter in place; `above` is the row before it, already undone. */
static int unfilter(int filter, uint8_t *row, const uint8_t *above, size_t bytes, size_t pixel) {
  size_t i = 0;
  switch (filter) {
    case 0:
      return 1;
    case 1:
      for (i = pixel; i < bytes; i++) row[i] += row[i - pixel];
      return 1;
    case 2:
      for (; i < bytes; i++) row[i] += above[i];
      return 1;
    case 3:
      for (; i < pixel; i++) row[i] += above[i] >> 1;
      for (; i < bytes; i++) row[i] += (uint8_t)((row[i - pixel] + above[i]) >> 1);
      return 1;
    case 4:
      for (; i < pixel; i++) row[i] += above[i];
      for (; i < bytes; i++) row[i] += paeth(row[i - pixel], above[i], above[i - pixel]);
      return 1;
  }
  return 0;
}

static void copy_row(const uint8_t *row, uint32_t width, int from, uint8_t *out, int to) {
  if (from == to) {
    memcpy(out, row, (size_t)width * (size_t)to);
    return;
  }
  for (uint32_t x = 0; x < width; x++, row += from, out += 3)
    for (int c = 0; c < 3; c++) out[c] = row[from == 1 ? 0 : c];
}

/* Decodes a file of exactly this size into `out`; 0 where it is Pillow's. */
static int draw_whole(const uint8_t *data, size_t size, int width, int height, int channels,
                      uint8_t *out) {
  Header h;
  if (!open_png(data, size, &h)) return 0;
  if (h.width != (uint32_t)width || h.height != (uint32_t)height) return 0;
  if (channels == 1 && h.channels != 1) return 0; /* colour to gray is Pillow's luma */
  size_t bytes = (size_t)width * (size_t)h.channels, wanted = (bytes + 1) * (size_t)height;
  if (wanted > 1u << 30) return 0;
  uint8_t *rows = malloc(bytes + wanted); /* before the first row there is one of zeros */
  z_stream z = {0};
  int done = 0;
  if (rows && inflateInit(&z) == Z_OK) {
    done = inflate_all(&z, data, size, h.body, rows + bytes, wanted);
    inflateEnd(&z);
  }
  const uint8_t *above = rows;
  if (done) memset(rows, 0, bytes);
  for (int y = 0; done && y < height; y++) {
    uint8_t *row = rows + bytes + (bytes + 1) * (size_t)y;
    done = unfilter(row[0], row + 1, above, bytes, (size_t)h.channels);
    copy_row(row + 1, h.width, h.channels, out + (size_t)width * channels * (size_t)y, channels);
    above = row + 1;
  }
  free(rows);
  return done;
}

static PyMethodDef methods[] = {WHOLE_METHOD, {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_png", "Decoding of small PNGs.", -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__png(void) { return PyModule_Create(&module); }
