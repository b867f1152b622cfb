// Graph-based segmentation of a volume (Felzenszwalb and Huttenlocher 2004) over the 26-neighbourhood.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "disjoint_set.hpp"

namespace medfs {

// One half of the 26-neighbourhood; its order decides between edges of equal cost.
struct Direction {
  int dz, dy, dx;
};
inline constexpr std::array<Direction, 13> kDirections{{{0, 1, 0},
                                                        {0, 1, 1},
                                                        {0, 0, 1},
                                                        {0, 1, -1},
                                                        {1, 1, 0},
                                                        {1, 1, 1},
                                                        {1, 0, 1},
                                                        {1, -1, 0},
                                                        {1, -1, -1},
                                                        {1, 0, -1},
                                                        {1, 1, -1},
                                                        {1, -1, 1},
                                                        {1, 0, 0}}};

struct Edge {
  double cost;
  std::int32_t a, b;
};

inline std::vector<Edge> sorted_edges(const double* image, std::int64_t sx, std::int64_t sy, std::int64_t sz,
                                      const double* weights) {
  std::vector<Edge> edges;
  for (std::size_t i = 0; i < kDirections.size(); ++i) {
    const auto [dz, dy, dx] = kDirections[i];
    for (std::int64_t z = 0; z < sz - dz; ++z)
      for (std::int64_t y = std::max(0, -dy); y < sy - std::max(0, dy); ++y)
        for (std::int64_t x = std::max(0, -dx); x < sx - std::max(0, dx); ++x) {
          const std::int64_t a = (z * sy + y) * sx + x, b = a + (dz * sy + dy) * sx + dx;
          const double difference = image[a] - image[b];
          if (std::isnan(difference)) continue;
          edges.push_back({std::sqrt(weights[i] * (difference * difference)), static_cast<std::int32_t>(a),
                           static_cast<std::int32_t>(b)});
        }
  }
  std::stable_sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.cost < b.cost; });
  return edges;
}

// Labels `image` (x fastest, then y, then z) into `labels`: 0, 1, ... in the order of each segment's first voxel,
// -1 where the image is NaN. Returns the number of segments.
inline std::int32_t felzenszwalb_3d(const double* image, std::int64_t sx, std::int64_t sy, std::int64_t sz,
                                    const double* weights, double k, std::int64_t min_size, std::int32_t* labels) {
  const std::int64_t count = sx * sy * sz;
  DisjointSet sets(labels, count);
  std::vector<std::int32_t> sizes(count, 1);
  std::vector<float> thresholds(count, static_cast<float>(k));
  const std::vector<Edge> edges = sorted_edges(image, sx, sy, sz, weights);
  for (const Edge& edge : edges) {
    const std::int32_t a = sets.find(edge.a), b = sets.find(edge.b);
    if (a == b || !(edge.cost < std::min(thresholds[a], thresholds[b]))) continue;
    const std::int32_t size = sizes[a] + sizes[b], root = sets.join(a, b);
    sizes[root] = size;
    thresholds[root] = static_cast<float>(edge.cost + k / size);
  }
  for (const Edge& edge : edges) {
    const std::int32_t a = sets.find(edge.a), b = sets.find(edge.b);
    if (a == b || (sizes[a] >= min_size && sizes[b] >= min_size)) continue;
    const std::int32_t size = sizes[a] + sizes[b];
    sizes[sets.join(a, b)] = size;
  }
  std::int32_t segments = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (std::isnan(image[i]))
      labels[i] = -1;
    else
      labels[i] = labels[i] == i ? segments++ : labels[labels[i]];
  }
  return segments;
}

}  // namespace medfs
