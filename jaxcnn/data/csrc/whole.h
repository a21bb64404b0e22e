/* Decoding of many files at once, each whole and of the size of its row: what `_jpeg` and `_png` share.
   The file that includes this defines `draw_whole`. */

static int draw_whole(const uint8_t *data, size_t size, int width, int height, int channels,
                      uint8_t *out);

typedef struct {
  const char *data;
  Py_ssize_t size;
} File;

static PyObject *py_whole(PyObject *self, PyObject *args) {
  (void)self;
  PyObject *images;
  Py_buffer out, done;
  int height, width, channels;
  if (!PyArg_ParseTuple(args, "O!w*(iii)w*", &PyList_Type, &images, &out, &height, &width,
                        &channels, &done))
    return NULL;
  Py_ssize_t count = PyList_Size(images);
  Py_ssize_t row = (Py_ssize_t)height * width * channels;
  File *files = NULL;
  PyObject *held = NULL;
  int fits = height > 0 && width > 0 && height <= 65535 && width <= 65535 &&
             (channels == 1 || channels == 3) && out.len == row * count && done.len == count;
  if (!fits) {
    PyErr_SetString(PyExc_ValueError, "The output does not fit the images.");
  } else {
    files = calloc((size_t)count + 1, sizeof *files);
    held = files ? PyList_AsTuple(images) : PyErr_NoMemory();
  }
  /* The tuple keeps the bytes alive, whatever becomes of the list. */
  for (Py_ssize_t i = 0; held && i < count; i++) {
    PyObject *image = PyTuple_GetItem(held, i);
    if (PyBytes_Check(image)) PyBytes_AsStringAndSize(image, (char **)&files[i].data, &files[i].size);
  }
  if (held) {
    uint8_t *flags = done.buf, *pixels = out.buf;
    Py_BEGIN_ALLOW_THREADS;
    for (Py_ssize_t i = 0; i < count; i++)
      if (!flags[i] && files[i].data)
        flags[i] = (uint8_t)draw_whole((const uint8_t *)files[i].data, (size_t)files[i].size, width,
                                       height, channels, pixels + row * i);
    Py_END_ALLOW_THREADS;
    Py_DECREF(held);
  }
  free(files);
  PyBuffer_Release(&out);
  PyBuffer_Release(&done);
  if (PyErr_Occurred()) return NULL;
  Py_RETURN_NONE;
}

#define WHOLE_METHOD                                                                               \
  {"whole", py_whole, METH_VARARGS,                                                                \
   "whole(images, out, (height, width, channels), done)\n\nDecodes the files of the list `images` "   \
   "that have exactly this size into the rows of `out`, uint8 [N, H, W, C], and sets their bytes "    \
   "in `done`, uint8 [N]; rows that are set already are passed over."}
