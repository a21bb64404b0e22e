// Convolution and its two gradients, and max pooling's, as XLA custom calls for CPUs: float32, filters
// (for the image's gradient: channels) in whole vectors. See jaxcnn/nn/native.py.
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include "groups.h"
#include "huge_pages.h"
#include "pooling.h"

namespace ffi = xla::ffi;
using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::Result<Array>;
using Numbers = ffi::Span<const int64_t>;

namespace {

const Tiles* tiles = nullptr;

// An array's last four axes. A fifth in front counts parts that have nothing to do with each other:
// XLA divides these among the devices of a program.
class Part {
 public:
  Part(const Array& array, long number) {
    const auto all = array.dimensions();
    dimensions_ = all.begin() + all.size() - 4;
    data_ = array.typed_data() +
            number * dimensions_[0] * dimensions_[1] * dimensions_[2] * dimensions_[3];
  }
  const int64_t* dimensions() const { return dimensions_; }
  float* typed_data() const { return data_; }

 private:
  const int64_t* dimensions_;
  float* data_;
};

// `window` is stride, padding and dilation, each down and across; groups, and how many are joined.
void run(Pool& pool, Kind kind, Part x, Part kernel, Part y, Numbers window) {
  auto xs = x.dimensions(), ks = kernel.dimensions(), ys = y.dimensions();
  const Geometry g{xs[0], xs[1], xs[2], xs[3], ks[3], {ys[1], ys[2]}, {ks[0], ks[1]},
                   {window[0], window[1]}, {window[2], window[3]}, {window[4], window[5]},
                   {xs[3], ks[3]}};
  run_groups(pool, *tiles, kind, {g, window[6], window[7]}, x.typed_data(), kernel.typed_data(),
             y.typed_data());
}

void Convolve(Pool& pool, Part x, Part kernel, Part y, Numbers window) {
  run(pool, Kind::kConvolve, x, kernel, y, window);
}

void ImageGradient(Pool& pool, Part dy, Part kernel, Part dx, Numbers window) {
  run(pool, Kind::kImageGradient, dx, kernel, dy, window);
}

void KernelGradient(Pool& pool, Part x, Part dy, Part dkernel, Numbers window) {
  run(pool, Kind::kKernelGradient, x, dkernel, dy, window);
}

// `window` is size, stride and padding, each down and across.
void PoolGradient(Pool& pool, Part dy, Part x, Part dx, Numbers window) {
  auto xs = x.dimensions(), ys = dy.dimensions();
  const Windows w{xs[0], xs[1], xs[2], xs[3], {ys[1], ys[2]},
                  {window[0], window[1]}, {window[2], window[3]}, {window[4], window[5]}};
  pool_gradient(pool, *tiles, w, dy.typed_data(), x.typed_data(), dx.typed_data());
}

using Work = void(Pool&, Part, Part, Part, Numbers);

template <Work work>
ffi::Error each_part(ffi::ThreadPool threads, Array first, Array second, Result result,
                     Numbers window) {
  const auto dimensions = result->dimensions();
  if (dimensions.size() != first.dimensions().size() || dimensions.size() < 4)
    return ffi::Error(ffi::ErrorCode::kInvalidArgument, "arrays need four or five axes");
  try {
    advise(result->untyped_data(), result->size_bytes());
    Pool pool(threads);
    const long parts = dimensions.size() == 4 ? 1 : dimensions[0];
    for (long i = 0; i < parts; i++)
      work(pool, Part(first, i), Part(second, i), Part(*result, i), window);
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for a convolution's scratch");
  }
  return ffi::Error::Success();
}

}  // namespace

#define HANDLER(name, function)                             \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, each_part<function>,  \
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

// What jaxcnn/nn/native.py expects of the calls above; a change of theirs raises it in both.
constexpr long kInterface = 2;

PyMODINIT_FUNC PyInit__conv(void) {
  PyObject* module = PyModule_Create(&definition);
  if (module && PyModule_AddIntConstant(module, "INTERFACE", kInterface) < 0) {
    Py_DECREF(module);
    return nullptr;
  }
  return module;
}
