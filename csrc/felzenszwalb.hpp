// Graph-based segmentation of a volume (Felzenszwalb and Huttenlocher 2004) over the 26-neighbourhood.
//
// Both passes walk all edges by (cost, direction, voxel). No edge list is stored: the costs are cut into buckets of
// bounded size, and for each bucket the image is scanned for the edges that can still change something.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "disjoint_set.hpp"
#include "edge_list.hpp"
#include "edges.hpp"

namespace medfs {

// First pass: two segments merge if the edge is cheaper than what holds each of them together.
// A segment whose threshold is reached is frozen for good, as costs only rise.
class GrowthPass {
 public:
  static constexpr std::int32_t kDead = -1;

  GrowthPass(const double* image, const Grid& grid, double k, DisjointSet& sets, std::vector<std::int32_t>& sizes)
      : grid_(grid), k_(k), sets_(sets), sizes_(sizes), thresholds_(grid.voxels()) {
    for (std::int64_t i = 0; i < grid.voxels(); ++i) thresholds_[i] = std::isnan(image[i]) ? -1 : static_cast<float>(k);
  }

  // Sets the keys for edges of at least `low`; returns the cost from which nothing can merge as things stand.
  double refresh(double low, EdgeScanner& scanner) {
    float bound = 0;
    std::int32_t voxel = 0;
    for (std::int64_t row = 0; row < grid_.rows(); ++row) {
      for (std::int64_t x = 0; x < grid_.sx; ++x, ++voxel) {
        const std::int32_t root = sets_.flatten(voxel);
        const float threshold = thresholds_[root];
        scanner.keys[voxel] = threshold > low ? root : kDead;
        bound = std::max(bound, threshold);
      }
      scanner.close_row(row);
    }
    return bound;
  }

  bool done() const { return false; }

  // Edges without cost always merge, unless the threshold of a large segment rounds to zero.
  bool takes_in_any_order(double cost) const {
    return cost == 0 && static_cast<float>(k_ / static_cast<double>(grid_.voxels())) > 0;
  }

  void expect(std::int32_t a, std::int32_t b) const { sets_.prefetch(a, b); }

  void offer(std::int32_t a, std::int32_t b, double cost) {
    a = sets_.find(a);
    b = sets_.find(b);
    if (a == b || !(cost < std::min(thresholds_[a], thresholds_[b]))) return;
    const std::int32_t size = sizes_[a] + sizes_[b], root = sets_.join(a, b);
    sizes_[root] = size;
    thresholds_[root] = static_cast<float>(cost + k_ / size);
  }

 private:
  Grid grid_;
  double k_;
  DisjointSet& sets_;
  std::vector<std::int32_t>& sizes_;
  std::vector<float> thresholds_;
};

// Second pass: a segment below the minimum size merges along the first edge that leaves it.
class SizePass {
 public:
  static constexpr std::int32_t kDead = std::numeric_limits<std::int32_t>::max();

  SizePass(const double* image, const Grid& grid, std::int64_t min_size, DisjointSet& sets,
           std::vector<std::int32_t>& sizes)
      : image_(image), grid_(grid), min_size_(min_size), sets_(sets), sizes_(sizes) {}

  double refresh(double, EdgeScanner& scanner) {
    small_ = 0;
    std::int32_t voxel = 0;
    for (std::int64_t row = 0; row < grid_.rows(); ++row) {
      for (std::int64_t x = 0; x < grid_.sx; ++x, ++voxel) {
        const std::int32_t root = sets_.flatten(voxel);
        const bool small = sizes_[root] < min_size_ && !std::isnan(image_[voxel]);
        scanner.keys[voxel] = small ? root : kDead;
        small_ += small && root == voxel;
      }
      scanner.close_row(row);
    }
    return kInfinity;
  }

  bool done() const { return small_ == 0; }
  bool takes_in_any_order(double) const { return false; }

  void expect(std::int32_t a, std::int32_t b) const { sets_.prefetch(a, b); }

  void offer(std::int32_t a, std::int32_t b, double) {
    a = sets_.find(a);
    b = sets_.find(b);
    const int small = (sizes_[a] < min_size_) + (sizes_[b] < min_size_);
    if (a == b || small == 0) return;
    const std::int32_t size = sizes_[a] + sizes_[b];
    sizes_[sets_.join(a, b)] = size;
    small_ -= small - (size < min_size_);
  }

 private:
  const double* image_;
  Grid grid_;
  std::int64_t min_size_, small_ = 0;
  DisjointSet& sets_;
  std::vector<std::int32_t>& sizes_;
};

// Offers a pass its live edges in order, bucket by bucket.
template <typename Pass>
class BucketWalk {
 public:
  BucketWalk(const Grid& grid, const double* image, const EdgeCosts& costs, EdgeList& edges, Pass& pass)
      : grid_(grid), image_(image), costs_(costs), edges_(edges), pass_(pass), scanner_(grid, image, Pass::kDead) {}

  void run() {
    double low = 0;
    while (low < kInfinity) {
      const double bound = pass_.refresh(low, scanner_);
      if (pass_.done() || !(low < bound)) return;
      double high = std::min(bound, quantile(low));
      if (high > low) high = collect(low, high);
      if (high > low) {
        offer_list();
      } else {
        high = std::nextafter(low, kInfinity);
        offer_ties(low, high);
      }
      low = high;
    }
  }

 private:
  // A cost below which about two thirds of the list's capacity of live edges lie, judged by a sample of rows.
  double quantile(double low) {
    constexpr std::int64_t kSample = 1 << 17;
    const CostRange range(costs_, low, kInfinity);
    const std::int64_t wanted_rows = std::max<std::int64_t>(8, kSample / (grid_.sx * kDirections.size()));
    const std::int64_t step = std::max<std::int64_t>(1, grid_.rows() / wanted_rows);
    edges_.clear();
    for (std::int64_t row = step / 2; row < grid_.rows(); row += step)
      for (std::size_t i = 0; i < kDirections.size(); ++i)
        scanner_.scan(row, i, range, [&](std::int64_t voxel) {
          if (!edges_.full()) edges_.push(edge(voxel, i));
        });
    const std::size_t rank = edges_.capacity() * 2 / 3 / step;
    return rank < edges_.size() ? EdgeCosts::number(edges_.cost_at(rank)) : kInfinity;
  }

  // Lists the live edges of [low, high), or of cheaper ones only if the list fills up. Returns where the listed costs
  // end: `low` if too many edges cost exactly that.
  double collect(double low, double high) {
    CostRange range(costs_, low, high);
    edges_.clear();
    for (std::int64_t row = 0; row < grid_.rows() && high > low; ++row)
      for (std::size_t i = 0; i < kDirections.size(); ++i)
        scanner_.scan(row, i, range, [&](std::int64_t voxel) {
          const Edge candidate = edge(voxel, i);
          if (edges_.full() && candidate.cost < EdgeCosts::bits(high)) {
            high = EdgeCosts::number(edges_.cost_at(edges_.size() / 2));
            edges_.keep_below(EdgeCosts::bits(high));
            range = CostRange(costs_, low, high);
          }
          if (candidate.cost < EdgeCosts::bits(high)) edges_.push(candidate);
        });
    return high;
  }

  void offer_list() {
    constexpr std::ptrdiff_t kAhead = 16;
    edges_.sort();
    for (const Edge* e = edges_.begin(); e != edges_.end() && !pass_.done(); ++e) {
      if (edges_.end() - e > kAhead) pass_.expect(e[kAhead].voxel(), upper_end(e[kAhead]));
      pass_.offer(e->voxel(), upper_end(*e), EdgeCosts::number(e->cost));
    }
  }

  // Edges of one cost need no sorting: the order of scanning is theirs.
  void offer_ties(double low, double high) {
    const CostRange range(costs_, low, high);
    const auto offer_row = [&](std::int64_t row, std::size_t direction) {
      const std::int64_t offset = grid_.offset(kDirections[direction]);
      scanner_.scan(row, direction, range, [&](std::int64_t voxel) {
        pass_.offer(static_cast<std::int32_t>(voxel), static_cast<std::int32_t>(voxel + offset), low);
      });
    };
    if (pass_.takes_in_any_order(low)) {  // one stroll through memory instead of thirteen
      for (std::int64_t row = 0; row < grid_.rows(); ++row)
        for (std::size_t i = 0; i < kDirections.size(); ++i) offer_row(row, i);
    } else {
      for (std::size_t i = 0; i < kDirections.size(); ++i)
        for (std::int64_t row = 0; row < grid_.rows(); ++row) offer_row(row, i);
    }
  }

  Edge edge(std::int64_t voxel, std::size_t direction) const {
    const double difference = image_[voxel] - image_[voxel + grid_.offset(kDirections[direction])];
    return {EdgeCosts::bits(costs_(direction, difference)),
            static_cast<std::uint64_t>(direction) << 32 | static_cast<std::uint64_t>(voxel)};
  }

  std::int32_t upper_end(const Edge& e) const {
    return e.voxel() + static_cast<std::int32_t>(grid_.offset(kDirections[e.direction()]));
  }

  Grid grid_;
  const double* image_;
  EdgeCosts costs_;
  EdgeList& edges_;
  Pass& pass_;
  EdgeScanner scanner_;
};

// Labels `image` into `labels`: 0, 1, ... in the order of each segment's first voxel, -1 where the image is NaN.
// `weights` are the squared weights of kDirections. Returns the number of segments. Throws std::invalid_argument for
// more than 2^31 - 1 voxels. `capacity` is the size of the edge list; it decides time and memory, never the result.
inline std::int32_t felzenszwalb_3d(const double* image, const Grid& grid, const double* weights, double k,
                                    std::int64_t min_size, std::int32_t* labels, std::size_t capacity = 0) {
  grid.check();
  const std::int64_t voxels = grid.voxels();
  if (voxels == 0) return 0;
  const EdgeCosts costs(weights);
  DisjointSet sets(labels, voxels);
  std::vector<std::int32_t> sizes(voxels, 1);
  EdgeList edges(capacity > 0 ? capacity : std::max<std::size_t>(1 << 16, voxels / 4));
  {
    GrowthPass pass(image, grid, k, sets, sizes);
    BucketWalk<GrowthPass>(grid, image, costs, edges, pass).run();
  }
  SizePass pass(image, grid, min_size, sets, sizes);
  BucketWalk<SizePass>(grid, image, costs, edges, pass).run();

  std::int32_t segments = 0;
  for (std::int64_t i = 0; i < voxels; ++i) {
    if (std::isnan(image[i]))
      labels[i] = -1;
    else
      labels[i] = labels[i] == i ? segments++ : labels[labels[i]];
  }
  return segments;
}

}  // namespace medfs
