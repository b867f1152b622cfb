// Disjoint sets over the integers 0..n-1, held in memory that the caller owns.
#pragma once

#include <cstdint>
#include <utility>

namespace medfs {

// The root of a set is its smallest element, so parents[i] <= i always holds.
class DisjointSet {
 public:
  DisjointSet(std::int32_t* parents, std::int64_t count) : parents_(parents) {
    for (std::int64_t i = 0; i < count; ++i) parents_[i] = static_cast<std::int32_t>(i);
  }

  std::int32_t find(std::int32_t i) {
    while (parents_[i] != i) {
      parents_[i] = parents_[parents_[i]];
      i = parents_[i];
    }
    return i;
  }

  // The same for i = 0, 1, ... in this order: no path is longer than two steps then.
  std::int32_t flatten(std::int32_t i) { return parents_[i] = parents_[parents_[i]]; }

  void prefetch(std::int32_t a, std::int32_t b) const {
#if defined(__GNUC__)
    __builtin_prefetch(parents_ + a);
    __builtin_prefetch(parents_ + b);
#else
    (void)a, (void)b;
#endif
  }

  // Joins two different roots and returns the root of the union.
  std::int32_t join(std::int32_t a, std::int32_t b) {
    if (a > b) std::swap(a, b);
    parents_[b] = a;
    return a;
  }

 private:
  std::int32_t* parents_;
};

}  // namespace medfs
