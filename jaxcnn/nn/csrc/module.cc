// Convolution and its two gradients as XLA custom calls for CPUs: float32, one group, filters (for
// the image's gradient: channels) in whole vectors. See jaxcnn/nn/native.py.
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include "convolution.h"
#include "huge_pages.h"
#include "kernel_gradient.h"
#include "pooling.h"
#include "winograd.h"

namespace ffi = xla::ffi;
using Array = ffi::Buffer<ffi::F32, 4>;
using Result = ffi::Result<Array>;
using Numbers = ffi::Span<const int64_t>;

namespace {

const Tiles* tiles = nullptr;

// `window` is stride, padding and dilation, each down and across.
Geometry geometry(const Array& x, const Array& kernel, const Array& y, Numbers window) {
  auto xs = x.dimensions(), ks = kernel.dimensions(), ys = y.dimensions();
  return {xs[0], xs[1], xs[2], xs[3], ks[3], {ys[1], ys[2]}, {ks[0], ks[1]},
          {window[0], window[1]}, {window[2], window[3]}, {window[4], window[5]}};
}

template <typename Work>
ffi::Error guarded(Result& result, Work work) {
  try {
    advise(result->untyped_data(), result->size_bytes());
    work();
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for a convolution's scratch");
  }
  return ffi::Error::Success();
}

ffi::Error Convolve(ffi::ThreadPool pool, Array x, Array kernel, Result y, Numbers window) {
  return guarded(y, [&] {
    const Geometry g = geometry(x, kernel, *y, window);
    if (suits_winograd(g)) {
      const Tiling tiling{g.batch, {g.height, g.width}, {g.out[0], g.out[1]},
                          {g.padding[0], g.padding[1]}};
      winograd(pool, *tiles, g, tiling, false, x.typed_data(), kernel.typed_data(),
               y->typed_data());
    } else {
      convolve(pool, *tiles, g, x.typed_data(), kernel.typed_data(), y->typed_data());
    }
  });
}

ffi::Error ImageGradient(ffi::ThreadPool pool, Array dy, Array kernel, Result dx, Numbers window) {
  return guarded(dx, [&] {
    const Geometry g = geometry(*dx, kernel, dy, window);
    if (suits_winograd(g)) {
      const Tiling tiling{g.batch, {g.out[0], g.out[1]}, {g.height, g.width},
                          {2 - g.padding[0], 2 - g.padding[1]}};
      winograd(pool, *tiles, g, tiling, true, dy.typed_data(), kernel.typed_data(),
               dx->typed_data());
    } else {
      image_gradient(pool, *tiles, g, dy.typed_data(), kernel.typed_data(), dx->typed_data());
    }
  });
}

ffi::Error KernelGradient(ffi::ThreadPool pool, Array x, Array dy, Result dkernel, Numbers window) {
  return guarded(dkernel, [&] {
    const Geometry g = geometry(x, *dkernel, dy, window);
    if (suits_winograd(g)) {
      winograd_kernel_gradient(pool, *tiles, g, x.typed_data(), dy.typed_data(),
                               dkernel->typed_data());
    } else {
      kernel_gradient(pool, *tiles, g, x.typed_data(), dy.typed_data(), dkernel->typed_data());
    }
  });
}

// `window` is size, stride and padding, each down and across.
ffi::Error PoolGradient(ffi::ThreadPool pool, Array dy, Array x, Result dx, Numbers window) {
  return guarded(dx, [&] {
    auto xs = x.dimensions(), ys = dy.dimensions();
    const Windows w{xs[0], xs[1], xs[2], xs[3], {ys[1], ys[2]},
                    {window[0], window[1]}, {window[2], window[3]}, {window[4], window[5]}};
    pool_gradient(pool, *tiles, w, dy.typed_data(), x.typed_data(), dx->typed_data());
  });
}

}  // namespace

#define HANDLER(name, function)                             \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, function,             \
                                ffi::Ffi::Bind()            \
                                    .Ctx<ffi::ThreadPool>() \
                                    .Arg<Array>()           \
                                    .Arg<Array>()           \
                                    .Ret<Array>()           \
                                    .Attr<Numbers>("window"))

HANDLER(jaxcnn_convolve, Convolve);
HANDLER(jaxcnn_image_gradient, ImageGradient);
HANDLER(jaxcnn_kernel_gradient, KernelGradient);
HANDLER(jaxcnn_pool_gradient, PoolGradient);

static PyObject* use(PyObject*, PyObject* args) {
  const char* name;
  if (!PyArg_ParseTuple(args, "s", &name)) return nullptr;
  const Tiles* found = find_tiles(name);
  if (found) tiles = found;
  return PyBool_FromLong(found != nullptr);
}

static PyObject* handlers(PyObject*, PyObject*) {
  return Py_BuildValue("{s:N,s:N,s:N,s:N}", "jaxcnn_convolve",
                       PyCapsule_New((void*)jaxcnn_convolve, nullptr, nullptr),
                       "jaxcnn_image_gradient",
                       PyCapsule_New((void*)jaxcnn_image_gradient, nullptr, nullptr),
                       "jaxcnn_kernel_gradient",
                       PyCapsule_New((void*)jaxcnn_kernel_gradient, nullptr, nullptr),
                       "jaxcnn_pool_gradient",
                       PyCapsule_New((void*)jaxcnn_pool_gradient, nullptr, nullptr));
}

static PyMethodDef methods[] = {
    {"use", use, METH_VARARGS,
     "use(name): takes an instruction set, 'avx512' or 'avx2', or '' for the best; False where this "
     "processor has it not."},
    {"handlers", handlers, METH_NOARGS, "The custom calls by name, each in a capsule."},
    {nullptr, nullptr, 0, nullptr}};

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_conv", nullptr, -1, methods};

PyMODINIT_FUNC PyInit__conv(void) { return PyModule_Create(&definition); }
