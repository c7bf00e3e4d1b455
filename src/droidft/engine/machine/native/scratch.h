// Working memory of one thread, kept between calls: fresh pages from the system cost more than the arithmetic.
#pragma once

#include <cassert>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "simd.h"

// Take blocks of floats, each aligned to a cache line; all are given back when the object goes.
class Scratch {
 public:
  // `floats` in all, for at most 16 blocks.
  explicit Scratch(int64_t floats) : slot_(depth()++) {
    auto& buffers = all();
    if (buffers.size() <= slot_) buffers.resize(slot_ + 1);
    Buffer& own = buffers[slot_];
    const int64_t need = floats + 16 * kLine;
    if (own.size < need) {
      own.data.reset();
      own.data.reset(static_cast<float*>(std::aligned_alloc(64, round_up(need * sizeof(float), 64))));
      if (!own.data) throw std::bad_alloc();
      own.size = need;
    }
    next_ = own.data.get();
  }
  ~Scratch() { depth()--; }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  float* take(int64_t floats) {
    float* block = next_;
    next_ += round_up(floats, kLine);
    return block;
  }

 private:
  static constexpr int64_t kLine = 16;
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  struct Buffer {
    std::unique_ptr<float[], Free> data;
    int64_t size = 0;
  };
  static std::vector<Buffer>& all() {
    thread_local std::vector<Buffer> buffers;
    return buffers;
  }
  static size_t& depth() {
    thread_local size_t value = 0;
    return value;
  }

  size_t slot_;
  float* next_;
};
