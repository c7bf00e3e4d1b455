// The nodes' names in Python, and the connection to the BLAS.
#include <dlfcn.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "kernels.h"
#include "nodes.h"
#include "pool.h"

namespace nb = nanobind;

namespace {

void (*set_blas_threads)(int) = nullptr;

// Sets the number of threads (0: as many as processors) and takes products from the BLAS loaded from `path` (empty:
// whichever the process has). Returns the address of a cblas_sgemm that can spread the work over our threads, or 0 if
// that library cannot be told to keep to one thread.
uintptr_t connect(int threads, const std::string& path) {
  pool::use(threads);
  void* library = path.empty() ? RTLD_DEFAULT : dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (!path.empty() && !library) return 0;
  for (const std::string prefix : {"", "scipy_"}) {
    auto find = [&](const char* name) { return dlsym(library, (prefix + name).c_str()); };
    auto entry = reinterpret_cast<kernels::Sgemm>(find("cblas_sgemm"));
    if (!entry) continue;
    kernels::use_sgemm(entry);
    set_blas_threads = reinterpret_cast<void (*)(int)>(find("openblas_set_num_threads"));
    return set_blas_threads ? reinterpret_cast<uintptr_t>(&kernels::sgemm) : 0;
  }
  return 0;
}

// From now on products run on our threads, and the BLAS on the one that calls it. To be called once MLX uses the
// address that connect() gave.
void split_products() {
  set_blas_threads(1);
  kernels::split_sgemm();
}

}  // namespace

NB_MODULE(droidft_native, m) {
  nb::module_::import_("mlx.core");  // registers mlx's array type
  m.def("attention", &nodes::attention, nb::arg("q"), nb::arg("k"), nb::arg("v"), nb::arg("scale"),
        nb::arg("causal"), nb::arg("mask").none());
  m.def("gated", &nodes::gated, nb::arg("gelu"), nb::arg("gate"), nb::arg("x").none());
  m.def("rms_norm", &nodes::rms_norm, nb::arg("x"), nb::arg("weight").none(), nb::arg("eps"));
  m.def("rope", &nodes::rope, nb::arg("x"), nb::arg("cos"), nb::arg("sin"), nb::arg("traditional"));
  m.def("cross_entropy", &nodes::cross_entropy, nb::arg("logits"), nb::arg("targets"));
  m.def("linear_cross_entropy", &nodes::linear_cross_entropy, nb::arg("hidden"), nb::arg("weights"),
        nb::arg("targets"), nb::arg("with_gradient"));
  m.def("product", &nodes::product, nb::arg("x"), nb::arg("weights"));
  m.def("lora", &nodes::lora, nb::arg("x"), nb::arg("weights"), nb::arg("a"), nb::arg("b"), nb::arg("scale"));
  m.def("short_products", &kernels::short_products);
  m.def("adamw", &nodes::adamw, nb::arg("parameter"), nb::arg("gradient"), nb::arg("m"), nb::arg("v"),
        nb::arg("rate"), nb::arg("step"), nb::arg("beta1"), nb::arg("beta2"), nb::arg("eps"), nb::arg("decay"),
        nb::arg("correct"));
  m.def("threads", &pool::threads);
  m.def("connect", &connect, nb::arg("threads"), nb::arg("blas"));
  m.def("split_products", &split_products);
}
