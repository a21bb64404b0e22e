/* Decodes, crops and resizes a JPEG in one pass, without Python's lock.

   The pixels are Pillow's, bit for bit: libjpeg's accurate transform and smooth upsampling, then
   Pillow's resampling in 22-bit fixed point, first along rows, then along columns. What makes it
   faster is what it leaves out: rows and columns that the crop does not need are entropy-decoded
   but never transformed, and no picture object is made. tests/data/test_native.py holds both.

   Everything that is not a plain, whole JPEG of 1 or 3 components is left to Pillow. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "resample.h"
#include "whole.h"

#if !defined(JCS_EXTENSIONS) || LIBJPEG_TURBO_VERSION_NUMBER < 2000000
#error "libjpeg-turbo 2.0 or newer is needed"
#endif

/* Off the alignment at which libjpeg-turbo writes past the cache; the next pass reads at once. */
#define ODD 4
#define MARGIN 2     /* columns beside the crop, which smooth upsampling looks at */

typedef struct {
  struct jpeg_error_mgr base;
  jmp_buf escape;
} ErrorManager;

typedef struct {
  int left, top, width, height;          /* of the region, in the decoded image */
  int out_width, out_height;             /* that the region is resized to */
  int x, y, window_width, window_height; /* the part of that which is wanted */
  int shrink, channels, bicubic, columns_first;
} Plan;

/* Volatile, as they are set after setjmp and freed after a jump. */
typedef struct {
  uint8_t *volatile decoded; /* rows as libjpeg gives them */
  uint8_t *volatile between; /* what the first pass leaves to the second */
} Buffers;

static void on_error(j_common_ptr info) { longjmp(((ErrorManager *)info->err)->escape, 1); }
static void on_message(j_common_ptr info) { (void)info; }

static int contains(const uint8_t *data, size_t size, const char *word) {
  size_t length = strlen(word);
  for (size_t i = 0; i + length <= size; i++)
    if (data[i] == (uint8_t)word[0] && !memcmp(data + i, word, length)) return 1;
  return 0;
}

/* Whether EXIF or XMP may ask for a turn or mirror; then Pillow sees to it. */
static int may_be_turned(j_decompress_ptr info) {
  for (jpeg_saved_marker_ptr m = info->marker_list; m; m = m->next) {
    const uint8_t *d = m->data;
    size_t n = m->data_length;
    if (contains(d, n, "tiff:Orientation")) return 1;
    if (n < 14 || memcmp(d, "Exif\0\0", 6)) continue;
    d += 6, n -= 6;
    int little = d[0] == 'I';
#define U16(p) ((unsigned)(little ? d[p] | d[(p) + 1] << 8 : d[p] << 8 | d[(p) + 1]))
#define U32(p) ((size_t)(little ? U16(p) | (size_t)U16((p) + 2) << 16 : (size_t)U16(p) << 16 | U16((p) + 2)))
    size_t at = U32(4);
    if (at + 2 > n) return 1;
    for (unsigned left = U16(at); left; left--, at += 12) {
      if (at + 14 > n) return 1;
      if (U16(at + 2) == 0x0112) {
        if (U16(at + 4) != 3 || U16(at + 10) != 1) return 1;
      }
    }
  }
  return 0;
}

/* Reads the header; 0 where the file is Pillow's. Errors jump to the caller. */
static int open_jpeg(j_decompress_ptr info, const uint8_t *data, size_t size) {
  /* A file that was cut off has no end marker; Pillow names it as damaged. */
  size_t end = size;
  while (end > 2 && data[end - 1] == 0) end--;
  if (end < 4 || data[0] != 0xFF || data[1] != 0xD8) return 0;
  if (data[end - 2] != 0xFF || data[end - 1] != 0xD9) return 0;
  jpeg_mem_src(info, data, (unsigned long)size);
  jpeg_save_markers(info, JPEG_APP0 + 1, 0xFFFF);
  if (jpeg_read_header(info, TRUE) != JPEG_HEADER_OK || may_be_turned(info)) return 0;
  J_COLOR_SPACE space = info->jpeg_color_space;
  int gray = info->num_components == 1 && space == JCS_GRAYSCALE;
  int colour = info->num_components == 3 && (space == JCS_YCbCr || space == JCS_RGB);
  return info->data_precision == 8 && (gray || colour);
}

/* Starts decoding at the first row and column that the filters need. Gives how many columns are
   decoded before it, or -1 where the plan does not fit. */
static int start(j_decompress_ptr info, const Plan *p, const Filter *across, const Filter *down) {
  info->out_color_space = p->channels == 1 ? JCS_GRAYSCALE : JCS_EXT_RGBX;
  info->scale_num = 1;
  info->scale_denom = (unsigned)p->shrink;
  info->dct_method = JDCT_ISLOW;
  jpeg_start_decompress(info);
  int width = (int)info->output_width, height = (int)info->output_height;
  if (p->left + p->width > width || p->top + p->height > height) return -1;
  int from = p->left + across->low - MARGIN, to = p->left + across->high + MARGIN;
  JDIMENSION left = from < 0 ? 0 : (JDIMENSION)from;
  JDIMENSION span = (JDIMENSION)(to > width ? width : to) - left;
  if (span < (JDIMENSION)width) jpeg_crop_scanline(info, &left, &span);
  JDIMENSION above = (JDIMENSION)(p->top + down->low);
  if (above && jpeg_skip_scanlines(info, above) != above) return -1;
  return p->left + across->low - (int)left;
}

/* Resizes `count` rows of `stride` bytes along themselves. */
static void across_rows(const Plan *p, const uint8_t *rows, size_t stride, int count, uint8_t *out,
                        const Filter *across) {
  void (*resize)(const uint8_t *, uint8_t *, const Filter *, int) = resize_row;
#ifdef HAS_AVX2
  if (__builtin_cpu_supports("avx2")) resize = resize_row_avx2;
#endif
  if (p->channels == 1) resize = resize_gray_row;
  for (int y = 0; y < count; y++, rows += stride, out += (size_t)p->window_width * p->channels)
    resize(rows, out, across, p->window_width);
}

/* Resizes to `size` rows along the columns. */
static void down_columns(const uint8_t *rows, size_t bytes, uint8_t *out, const Filter *down,
                         int size) {
  void (*resize)(const uint8_t *, size_t, uint8_t *, const int32_t *, int) = resize_column;
#ifdef HAS_AVX2
  if (__builtin_cpu_supports("avx2")) resize = resize_column_avx2;
#endif
  for (int y = 0; y < size; y++)
    resize(rows + bytes * (size_t)(down->first[y] - down->low), bytes, out + bytes * (size_t)y,
           down->weights + (size_t)y * down->taps, down->count[y]);
}

/* Decodes `count` rows; 0 where libjpeg gives fewer. */
static int read_rows(j_decompress_ptr info, uint8_t *rows, size_t stride, int count) {
  for (int y = 0; y < count; y++, rows += stride) {
    JSAMPROW line = rows;
    if (jpeg_read_scanlines(info, &line, 1) != 1) return 0;
  }
  return 1;
}

/* Decodes and resizes into `out`. Pillow's order of the passes is kept, since the pixels between
   them are rounded. */
static int decode(j_decompress_ptr info, const Plan *p, const Filter *across, const Filter *down,
                  Buffers *buffers, uint8_t *out) {
  int height = down->high - down->low, pixel = p->channels == 1 ? 1 : 4;
  int skipped = start(info, p, across, down);
  if (skipped < 0) return 0;
  size_t stride = (size_t)pixel * info->output_width, first = (size_t)(pixel * skipped);
  size_t out_stride = (size_t)p->window_width * p->channels;
  /* Rows of fewer taps than the longest read past their end, with weight 0. */
  size_t slack = (size_t)pixel * across->taps;
  size_t at_once = p->columns_first ? (size_t)height : 1;
  size_t middle = p->columns_first ? stride * p->window_height + slack : out_stride * height;
  buffers->decoded = malloc(ODD + stride * at_once + slack);
  buffers->between = malloc(middle);
  if (!buffers->decoded || !buffers->between) return 0;
  uint8_t *decoded = buffers->decoded + ODD;
  if (p->columns_first) {
    if (!read_rows(info, decoded, stride, height)) return 0;
    down_columns(decoded, stride, buffers->between, down, p->window_height);
    across_rows(p, buffers->between + first, stride, p->window_height, out, across);
  } else {
    for (int y = 0; y < height; y++) {
      if (!read_rows(info, decoded, stride, 1)) return 0;
      across_rows(p, decoded + first, stride, 1, buffers->between + out_stride * y, across);
    }
    down_columns(buffers->between, out_stride, out, down, p->window_height);
  }
  return info->err->num_warnings == 0;
}

static void set_up(j_decompress_ptr info, ErrorManager *errors) {
  info->err = jpeg_std_error(&errors->base);
  errors->base.error_exit = on_error;
  errors->base.output_message = on_message;
  jpeg_create_decompress(info);
}

/* Runs without Python's lock. 1 if `out` was written, 0 if the file is Pillow's. */
static int draw(const uint8_t *data, size_t size, const Plan *p, uint8_t *out) {
  struct jpeg_decompress_struct info;
  ErrorManager errors;
  Filter across = {0}, down = {0};
  Buffers buffers = {NULL, NULL};
  volatile int done = 0;
  set_up(&info, &errors);
  if (make_filter(&across, p->width, p->out_width, p->x, p->window_width, p->bicubic) &&
      make_filter(&down, p->height, p->out_height, p->y, p->window_height, p->bicubic) &&
      !setjmp(errors.escape))
    done = open_jpeg(&info, data, size) && (p->channels == 3 || info.num_components == 1) &&
           decode(&info, p, &across, &down, &buffers, out);
  jpeg_destroy_decompress(&info);
  free(buffers.decoded);
  free(buffers.between);
  free_filter(&across);
  free_filter(&down);
  return done;
}

static PyObject *py_probe(PyObject *self, PyObject *args) {
  (void)self;
  const char *data;
  Py_ssize_t size;
  if (!PyArg_ParseTuple(args, "y#", &data, &size)) return NULL;
  struct jpeg_decompress_struct info;
  ErrorManager errors;
  volatile int ok = 0;
  set_up(&info, &errors);
  if (!setjmp(errors.escape)) ok = open_jpeg(&info, (const uint8_t *)data, (size_t)size);
  int width = ok ? (int)info.image_width : 0, height = ok ? (int)info.image_height : 0;
  int components = ok ? info.num_components : 0;
  jpeg_destroy_decompress(&info);
  if (!ok) Py_RETURN_NONE;
  return Py_BuildValue("iii", width, height, components);
}

static int is_sane(const Plan *p, Py_ssize_t out_bytes) {
  const int most = JPEG_MAX_DIMENSION;
  int shrinks = p->shrink == 1 || p->shrink == 2 || p->shrink == 4 || p->shrink == 8;
  return shrinks && (p->channels == 1 || p->channels == 3) && p->left >= 0 && p->top >= 0 &&
         p->left <= most && p->top <= most && p->width > 0 && p->height > 0 && p->width <= most &&
         p->height <= most && p->out_width > 0 && p->out_height > 0 && p->out_width <= most &&
         p->out_height <= most && p->x >= 0 && p->y >= 0 && p->window_width > 0 &&
         p->window_height > 0 && p->window_width <= p->out_width - p->x &&
         p->window_height <= p->out_height - p->y &&
         out_bytes == (Py_ssize_t)p->window_width * p->window_height * p->channels;
}

static PyObject *py_draw(PyObject *self, PyObject *args) {
  (void)self;
  const char *data;
  Py_ssize_t size;
  Py_buffer out;
  Plan p;
  if (!PyArg_ParseTuple(args, "y#w*i(iiii)(ii)(iiii)ipp", &data, &size, &out, &p.channels, &p.left,
                        &p.top, &p.width, &p.height, &p.out_width, &p.out_height, &p.x, &p.y,
                        &p.window_width, &p.window_height, &p.shrink, &p.bicubic,
                        &p.columns_first))
    return NULL;
  if (!is_sane(&p, out.len)) {
    PyBuffer_Release(&out);
    PyErr_SetString(PyExc_ValueError, "The plan does not fit the image or the output.");
    return NULL;
  }
  int done;
  Py_BEGIN_ALLOW_THREADS;
  done = draw((const uint8_t *)data, (size_t)size, &p, out.buf);
  Py_END_ALLOW_THREADS;
  PyBuffer_Release(&out);
  return PyBool_FromLong(done);
}

/* A file of exactly this size, without any resampling. */
static int draw_whole(const uint8_t *data, size_t size, int width, int height, int channels,
                      uint8_t *out) {
  struct jpeg_decompress_struct info;
  ErrorManager errors;
  volatile int done = 0;
  set_up(&info, &errors);
  if (!setjmp(errors.escape) && open_jpeg(&info, data, size) &&
      info.image_width == (JDIMENSION)width && info.image_height == (JDIMENSION)height &&
      (channels == 3 || info.num_components == 1)) {
    info.out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    info.dct_method = JDCT_ISLOW;
    jpeg_start_decompress(&info);
    size_t stride = (size_t)width * (size_t)channels;
    done = read_rows(&info, out, stride, height) && info.err->num_warnings == 0;
  }
  jpeg_destroy_decompress(&info);
  return done;
}

static PyMethodDef methods[] = {
    WHOLE_METHOD,
    {"probe", py_probe, METH_VARARGS,
     "probe(data) -> (width, height, components), or None for a file that is Pillow's."},
    {"draw", py_draw, METH_VARARGS,
     "draw(data, out, channels, (left, top, width, height), (width, height), (x, y, width, height), "
     "shrink, bicubic, columns_first) -> bool\n\nDecodes at 1/shrink, resizes the region to (width, height) and "
     "writes the window of it to the contiguous uint8 buffer `out`. False leaves it undefined."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_jpeg",
                                    "Decode, crop and resize of JPEGs in one pass.", -1, methods,
                                    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__jpeg(void) { return PyModule_Create(&module); }
