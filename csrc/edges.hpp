// The edges of the 26-neighbourhood of a volume, found by scanning the image and never stored all at once.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

// One binary for every processor: the scan is compiled twice and the loader picks. Results are the same.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__gnu_linux__) && !defined(MEDFS_PORTABLE)
#define MEDFS_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define MEDFS_CLONES
#endif

namespace medfs {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

// One half of the 26-neighbourhood; its order decides between edges of equal cost.
struct Direction {
  int dz, dy, dx;
};
inline constexpr std::array<Direction, 13> kDirections{{{0, 1, 0}, {0, 1, 1}, {0, 0, 1}, {0, 1, -1}, {1, 1, 0},
                                                        {1, 1, 1}, {1, 0, 1}, {1, -1, 0}, {1, -1, -1}, {1, 0, -1},
                                                        {1, 1, -1}, {1, -1, 1}, {1, 0, 0}}};

// A volume's extent; x runs fastest in memory.
struct Grid {
  std::int64_t sx, sy, sz;

  // Voxels are numbered by 32-bit integers; the largest one is spare.
  void check() const {
    constexpr std::int64_t limit = std::numeric_limits<std::int32_t>::max();
    const bool negative = sx < 0 || sy < 0 || sz < 0, empty = sx == 0 || sy == 0 || sz == 0;
    if (negative || (!empty && (sx > limit || sy > limit / sx || sz > limit / (sx * sy))))
      throw std::invalid_argument("expected at most 2147483647 voxels");
  }

  std::int64_t rows() const { return sy * sz; }
  std::int64_t voxels() const { return sx * sy * sz; }
  std::int64_t offset(const Direction& d) const { return (d.dz * sy + d.dy) * sx + d.dx; }
};

// What an edge costs: sqrt(weight * difference^2), monotone in |difference|.
class EdgeCosts {
 public:
  explicit EdgeCosts(const double* weights) { std::copy_n(weights, weights_.size(), weights_.begin()); }

  double operator()(std::size_t direction, double difference) const {
    return std::sqrt(weights_[direction] * (difference * difference));
  }

  // The smallest |difference| that costs at least `cost`, to the last bit, so that scans compare differences only.
  double reach(std::size_t direction, double cost) const {
    std::uint64_t low = 0, high = bits(kInfinity);
    while (low < high) {
      const std::uint64_t middle = low + (high - low) / 2;
      if ((*this)(direction, number(middle)) >= cost)
        high = middle;
      else
        low = middle + 1;
    }
    return number(low);
  }

  // Numbers >= 0 sort like their bits.
  static std::uint64_t bits(double value) {
    std::uint64_t result;
    std::memcpy(&result, &value, sizeof result);
    return result;
  }
  static double number(std::uint64_t value) {
    double result;
    std::memcpy(&result, &value, sizeof result);
    return result;
  }

 private:
  std::array<double, kDirections.size()> weights_;
};

// Differences whose cost lies in [low, high), for every direction.
struct CostRange {
  CostRange(const EdgeCosts& costs, double low_cost, double high_cost) {
    for (std::size_t i = 0; i < kDirections.size(); ++i) {
      low[i] = costs.reach(i, low_cost);
      high[i] = high_cost == kInfinity ? kInfinity : costs.reach(i, high_cost);
    }
  }
  std::array<double, kDirections.size()> low, high;
};

inline constexpr std::int64_t kBlock = 512;

namespace {
// Marks the edges a[i]-b[i] in [low, high) whose ends have different keys, none of them negative.
MEDFS_CLONES void mark_edges(const double* a, const double* b, const std::int32_t* key_a, const std::int32_t* key_b,
                             std::int64_t count, double low, double high, std::uint8_t* marks) {
  for (std::int64_t i = 0; i < count; ++i) {
    const double difference = std::fabs(a[i] - b[i]);
    marks[i] = (difference >= low) & (difference < high) & (key_a[i] != key_b[i]) & ((key_a[i] | key_b[i]) >= 0);
  }
}
}  // namespace

// Finds the edges that a pass may still use. `keys` holds one number per voxel; an edge is live if its two keys differ
// and none is negative. Voxels with the key `dead` only matter as neighbours of others (or not at all, if negative).
class EdgeScanner {
 public:
  EdgeScanner(const Grid& grid, const double* image, std::int32_t dead)
      : keys(grid.voxels()), grid_(grid), image_(image), dead_(dead), spans_(grid.rows()) {}

  std::vector<std::int32_t> keys;

  // To be called for each row once its keys are set.
  void close_row(std::int64_t row) {
    const std::int32_t* first = &keys[row * grid_.sx];
    const std::int32_t* last = first + grid_.sx;
    const std::int32_t* start = first;
    while (start < last && *start == dead_) ++start;
    while (last > start && last[-1] == dead_) --last;
    spans_[row] = {static_cast<std::int32_t>(start - first), static_cast<std::int32_t>(last - first)};
  }

  // Calls visit(voxel) for the lower end of each live edge of one direction that starts in `row`, in raster order.
  template <typename Visit>
  void scan(std::int64_t row, std::size_t direction, const CostRange& range, Visit&& visit) const {
    const Direction d = kDirections[direction];
    const std::int64_t z = row / grid_.sy, y = row % grid_.sy;
    if (z + d.dz >= grid_.sz || y + d.dy < 0 || y + d.dy >= grid_.sy) return;
    const Span span = live_span(spans_[row], spans_[row + d.dz * grid_.sy + d.dy], d.dx);
    const std::int64_t start = std::max<std::int64_t>({span.start, 0, -d.dx});
    const std::int64_t stop = std::min<std::int64_t>({span.stop, grid_.sx, grid_.sx - d.dx});
    for (std::int64_t x = start; x < stop; x += kBlock)
      scan_block(row * grid_.sx + x, std::min(kBlock, stop - x), direction, range, visit);
  }

 private:
  struct Span {
    std::int32_t start, stop;
  };

  // Where edges between two rows can be live: one live end is enough unless the dead key is negative.
  Span live_span(Span a, Span b, int dx) const {
    const bool empty_a = a.start >= a.stop, empty_b = b.start >= b.stop;
    b.start -= dx;
    b.stop -= dx;
    if (dead_ < 0) {
      if (empty_a || empty_b) return {0, 0};
      return {std::max(a.start, b.start), std::min(a.stop, b.stop)};
    }
    if (empty_a) return empty_b ? Span{0, 0} : b;
    if (empty_b) return a;
    return {std::min(a.start, b.start), std::max(a.stop, b.stop)};
  }

  template <typename Visit>
  void scan_block(std::int64_t a, std::int64_t count, std::size_t direction, const CostRange& range,
                  Visit&& visit) const {
    std::uint8_t marks[kBlock + 8];
    const std::int64_t b = a + grid_.offset(kDirections[direction]);
    mark_edges(image_ + a, image_ + b, &keys[a], &keys[b], count, range.low[direction], range.high[direction], marks);
    std::memset(marks + count, 0, 8);
    for (std::int64_t i = 0; i < count; i += 8) {
      std::uint64_t any;
      std::memcpy(&any, marks + i, 8);
      if (any == 0) continue;
      for (int j = 0; j < 8; ++j)
        if (marks[i + j]) visit(a + i + j);
    }
  }

  Grid grid_;
  const double* image_;
  std::int32_t dead_;
  std::vector<Span> spans_;
};

}  // namespace medfs
