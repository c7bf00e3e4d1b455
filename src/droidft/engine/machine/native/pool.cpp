#include "pool.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>

namespace pool {
namespace {

constexpr int kSpins = 2000;  // some 20-50 microseconds: longer than the gap between two kernels

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

int wanted = 0;

// Processors this process may run on, or OPENBLAS_NUM_THREADS or OMP_NUM_THREADS.
int count_threads() {
  if (wanted > 0) return wanted;
  for (const char* name : {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"}) {
    const char* value = std::getenv(name);
    if (value && std::atoi(value) > 0) return std::atoi(value);
  }
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

class Pool {
 public:
  // Never destroyed: at exit MLX's stream thread may still be inside.
  static Pool& get() {
    static Pool* p = new Pool;
    return *p;
  }

  int size() const { return size_; }

  void run(int64_t n, const std::function<void(int64_t)>& f) {
    std::unique_lock<std::mutex> turn(turn_, std::defer_lock);
    if (size_ == 1 || n == 1 || !turn.try_lock()) {  // taken: another stream is at work
      for (int64_t i = 0; i < n; i++) f(i);
      return;
    }
    while (inside_.load() > 0) relax();  // a late worker may still be leaving the last job
    job_ = &f;
    count_ = n;
    next_ = 0;
    left_ = n;
    open_ = true;
    {
      std::lock_guard<std::mutex> lock(sleep_);
      generation_++;
    }
    if (sleepers_ > 0) wake_.notify_all();
    work();
    for (int spins = 0; left_.load() > 0; spins++) spins < kSpins ? relax() : void(sched_yield());
    open_ = false;
  }

 private:
  Pool() : size_(count_threads()) {
    for (int i = 1; i < size_; i++) std::thread([this] { serve(); }).detach();
  }

  void work() {
    for (int64_t i; (i = next_++) < count_;) {
      (*job_)(i);
      left_--;
    }
  }

  void serve() {
    for (uint64_t seen = 0;;) {
      for (int i = 0; i < kSpins && generation_.load(std::memory_order_acquire) == seen; i++) relax();
      if (generation_.load(std::memory_order_acquire) == seen) {
        std::unique_lock<std::mutex> lock(sleep_);
        sleepers_++;
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
        sleepers_--;
      }
      seen = generation_.load();
      inside_++;  // before the look at open_, as run() closes before it looks at inside_: one of the two notices
      if (open_) work();
      inside_--;
    }
  }

  const int size_;
  std::mutex turn_, sleep_;
  std::condition_variable wake_;
  std::atomic<int> sleepers_{0};
  std::atomic<uint64_t> generation_{0};
  std::atomic<int64_t> next_{0}, left_{0};
  std::atomic<int> inside_{0};
  std::atomic<bool> open_{false};
  int64_t count_ = 0;
  const std::function<void(int64_t)>* job_ = nullptr;
};

}  // namespace

int threads() { return Pool::get().size(); }

void each(int64_t n, const std::function<void(int64_t)>& f) { Pool::get().run(n, f); }

void ranges(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& f) {
  each((n + grain - 1) / grain, [&](int64_t i) { f(i * grain, std::min(n, (i + 1) * grain)); });
}

void use(int count) { wanted = count; }

}  // namespace pool
