// One thread pool for the kernels and the matrix products.
#pragma once

#include <cstdint>
#include <functional>

namespace pool {

// Threads in use, the caller's included.
int threads();

// Sets their number; to be called before anything else. 0: the processors this process may run on.
void use(int threads);

// Calls f(i) for every i in [0, n), spread over the threads. Which thread takes which i is open, so f(i) must not
// depend on it; then results do not depend on timing or on the number of threads.
void each(int64_t n, const std::function<void(int64_t)>& f);

// each(), over ranges of `grain` items: f(begin, end).
void ranges(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& f);

}  // namespace pool
