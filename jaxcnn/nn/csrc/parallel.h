// A loop over tasks on XLA's threads, and memory that a thread keeps between calls.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "xla/ffi/api/ffi.h"

// XLA's threads with the caller, or the caller alone.
class Pool {
 public:
  Pool() = default;
  explicit Pool(xla::ffi::ThreadPool& threads) : threads_(&threads) {}

  long size() const { return threads_ ? std::max<long>(1, threads_->num_threads()) : 1; }

  template <typename Work>
  void schedule(Work&& work) {
    threads_->Schedule(std::forward<Work>(work));
  }

 private:
  xla::ffi::ThreadPool* threads_ = nullptr;
};

// Calls task(i) for each i < count. The caller works too, so it never waits for a thread that has
// not begun: a pool whose threads are all busy costs time, not progress. Throws std::bad_alloc, after
// all tasks have ended, where one did.
inline void parallel(Pool& pool, long count,
                     const std::function<void(long)>& task) {
  struct State {
    std::atomic<long> next{0}, done{0};
    std::atomic<bool> failed{false};
    std::mutex mutex;
    std::condition_variable finished;
  };
  // Shared: a thread may begin after all is done, and then only looks at `next`.
  auto state = std::make_shared<State>();
  auto work = [state, count, &task] {
    for (long i; (i = state->next.fetch_add(1)) < count;) {
      try {
        task(i);
      } catch (const std::bad_alloc&) {
        state->failed = true;
      }
      if (state->done.fetch_add(1) + 1 == count) {
        std::lock_guard<std::mutex> lock(state->mutex);
        state->finished.notify_all();
      }
    }
  };
  for (long other = 1; other < pool.size() && other < count; other++)
    pool.schedule(decltype(work)(work));
  work();
  std::unique_lock<std::mutex> lock(state->mutex);
  state->finished.wait(lock, [&] { return state->done.load() == count; });
  if (state->failed) throw std::bad_alloc();
}

// Grows and stays: fresh pages for each call would cost as much as a small convolution.
class Scratch {
 public:
  float* floats(long count) {
    if (count > capacity_) {
      std::free(memory_);
      memory_ = nullptr;
      capacity_ = 0;
      const size_t bytes = (static_cast<size_t>(count) * sizeof(float) + 63) / 64 * 64;
      memory_ = static_cast<float*>(std::aligned_alloc(64, bytes));
      if (!memory_) throw std::bad_alloc();
      capacity_ = count;
    }
    return memory_;
  }
  ~Scratch() { std::free(memory_); }

 private:
  float* memory_ = nullptr;
  long capacity_ = 0;
};
