// A bounded list of edges and its order: by cost, then direction, then voxel.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>

namespace medfs {

struct Edge {
  std::uint64_t cost;    // the bits of the cost
  std::uint64_t origin;  // direction << 32 | voxel of the lower end
  std::int32_t voxel() const { return static_cast<std::int32_t>(origin); }
  std::size_t direction() const { return origin >> 32; }
};

class EdgeList {
 public:
  explicit EdgeList(std::size_t capacity)
      : capacity_(capacity), edges_(new Edge[capacity]), spare_(new Edge[capacity]) {}

  bool full() const { return size_ == capacity_; }
  std::size_t size() const { return size_; }
  std::size_t capacity() const { return capacity_; }
  void clear() { size_ = 0; }
  void push(const Edge& edge) { edges_[size_++] = edge; }
  const Edge* begin() const { return edges_.get(); }
  const Edge* end() const { return edges_.get() + size_; }

  // Cost of the edge at `rank`, the list left in its order.
  std::uint64_t cost_at(std::size_t rank) {
    std::copy(begin(), end(), spare_.get());
    std::nth_element(spare_.get(), spare_.get() + rank, spare_.get() + size_,
                     [](const Edge& a, const Edge& b) { return a.cost < b.cost; });
    return spare_[rank].cost;
  }

  // Keeps the edges below `cost`, in their order.
  void keep_below(std::uint64_t cost) {
    size_ = std::remove_if(edges_.get(), edges_.get() + size_, [=](const Edge& e) { return e.cost >= cost; }) -
            edges_.get();
  }

  // Radix sort, least significant digit first: voxel, direction, cost.
  void sort() {
    if (size_ < 2048) {
      std::sort(edges_.get(), edges_.get() + size_, [](const Edge& a, const Edge& b) {
        return a.cost != b.cost ? a.cost < b.cost : a.origin < b.origin;
      });
      return;
    }
    std::uint64_t lowest = ~std::uint64_t{0}, highest = 0;
    for (const Edge& edge : *this) {
      lowest = std::min(lowest, edge.cost);
      highest = std::max(highest, edge.cost);
    }
    sort_by([](const Edge& edge) { return edge.origin >> 32; });
    for (int shift = 0; shift < 64 && (highest - lowest) >> shift; shift += kBits)
      sort_by([=](const Edge& edge) { return (edge.cost - lowest) >> shift; });
  }

 private:
  static constexpr int kBits = 11;
  static constexpr std::size_t kMask = (std::size_t{1} << kBits) - 1;

  template <typename Digit>
  void sort_by(Digit digit) {
    std::array<std::size_t, kMask + 1> starts{};
    for (const Edge& edge : *this) ++starts[digit(edge) & kMask];
    std::size_t total = 0;
    for (std::size_t& start : starts) {
      const std::size_t count = start;
      if (count == size_) return;
      start = total;
      total += count;
    }
    for (const Edge& edge : *this) spare_[starts[digit(edge) & kMask]++] = edge;
    edges_.swap(spare_);
  }

  std::size_t capacity_, size_ = 0;
  std::unique_ptr<Edge[]> edges_, spare_;
};

}  // namespace medfs
