// Checks the supervoxels against a direct implementation of their definition; needs no Python.
//
//   g++ -std=c++17 -O2 -ffp-contract=off csrc/test_felzenszwalb.cpp -o test_felzenszwalb
//   ./test_felzenszwalb [number of random volumes] [seed]

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "felzenszwalb.hpp"

namespace {

using medfs::Grid;
using medfs::kDirections;
using Labels = std::vector<std::int32_t>;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Case {
  Grid grid;
  std::vector<double> image;
  std::vector<double> weights;
  double k;
  std::int64_t min_size;
};

std::vector<double> weights_of(double s) {
  std::vector<double> weights;
  for (const medfs::Direction& d : kDirections) {
    const int in_plane = std::abs(d.dy) + std::abs(d.dx);
    const double g = d.dz == 0 ? 1 : std::sqrt(in_plane + s * s) / std::sqrt(in_plane + 1.0);
    weights.push_back(g * g);
  }
  return weights;
}

struct StoredEdge {
  double cost;
  std::size_t a, b;
};

std::vector<StoredEdge> all_edges(const Case& c) {
  std::vector<StoredEdge> edges;
  for (std::size_t i = 0; i < kDirections.size(); ++i)
    for (std::int64_t z = 0; z < c.grid.sz; ++z)
      for (std::int64_t y = 0; y < c.grid.sy; ++y)
        for (std::int64_t x = 0; x < c.grid.sx; ++x) {
          const std::int64_t u = x + kDirections[i].dx, v = y + kDirections[i].dy, w = z + kDirections[i].dz;
          if (u < 0 || u >= c.grid.sx || v < 0 || v >= c.grid.sy || w >= c.grid.sz) continue;
          const std::size_t a = (z * c.grid.sy + y) * c.grid.sx + x, b = (w * c.grid.sy + v) * c.grid.sx + u;
          const double difference = c.image[a] - c.image[b];
          if (!std::isnan(difference))
            edges.push_back({std::sqrt(c.weights[i] * (difference * difference)), a, b});
        }
  std::stable_sort(edges.begin(), edges.end(), [](const auto& a, const auto& b) { return a.cost < b.cost; });
  return edges;
}

// The definition, with every segment's number written to each of its voxels.
Labels expected_labels(const Case& c) {
  const std::size_t count = c.image.size();
  std::vector<std::size_t> segment(count);
  std::iota(segment.begin(), segment.end(), 0);
  std::vector<std::int64_t> size(count, 1);
  std::vector<double> internal(count, 0);
  const std::vector<StoredEdge> edges = all_edges(c);
  const auto merge = [&](std::size_t a, std::size_t b) {
    size[a] += size[b];
    for (std::size_t& s : segment) s = s == b ? a : s;
  };
  for (const StoredEdge& edge : edges) {
    const std::size_t a = segment[edge.a], b = segment[edge.b];
    const float limit_a = static_cast<float>(internal[a] + c.k / size[a]);
    const float limit_b = static_cast<float>(internal[b] + c.k / size[b]);
    if (a == b || edge.cost >= limit_a || edge.cost >= limit_b) continue;
    merge(a, b);
    internal[a] = edge.cost;
  }
  for (const StoredEdge& edge : edges) {
    const std::size_t a = segment[edge.a], b = segment[edge.b];
    if (a != b && (size[a] < c.min_size || size[b] < c.min_size)) merge(a, b);
  }
  Labels numbers(count, -1), labels(count, -1);
  std::int32_t next = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (std::isnan(c.image[i])) continue;
    if (numbers[segment[i]] < 0) numbers[segment[i]] = next++;
    labels[i] = numbers[segment[i]];
  }
  return labels;
}

Labels labels_of(const Case& c, std::size_t capacity = 0) {
  Labels labels(c.image.size(), 12345);
  medfs::felzenszwalb_3d(c.image.data(), c.grid, c.weights.data(), c.k, c.min_size, labels.data(), capacity);
  return labels;
}

void fail(const Case& c, const std::string& what) {
  std::printf("FAILED: %s (%lld x %lld x %lld, k %.17g, min_size %lld)\n", what.c_str(), (long long)c.grid.sx,
              (long long)c.grid.sy, (long long)c.grid.sz, c.k, (long long)c.min_size);
  std::exit(1);
}

using Random = std::mt19937_64;

double uniform(Random& random, double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(random);
}

std::int64_t whole(Random& random, std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(random);
}

double random_intensity(Random& random, int kind) {
  switch (kind) {
    case 0: return static_cast<double>(whole(random, 0, 5));                              // many ties
    case 1: return uniform(random, 0, 255);                                               // none
    case 2: return 255.0 * static_cast<double>(whole(random, 0, 700)) / 700;              // ties up to rounding
    case 3: return std::min(255.0, std::max(0.0, uniform(random, -300, 500)));            // flat air
    case 4: return std::ldexp(uniform(random, 0, 1), static_cast<int>(whole(random, -1074, 7)));  // underflow
    default: return 7;                                                                    // constant
  }
}

Case random_case(Random& random) {
  Case c;
  c.grid = {whole(random, 1, 9), whole(random, 1, 7), whole(random, 1, 6)};
  const int kind = static_cast<int>(whole(random, 0, 5));
  const bool masked = whole(random, 0, 3) == 0;
  c.image.resize(c.grid.voxels());
  for (double& value : c.image) value = masked && whole(random, 0, 2) == 0 ? kNan : random_intensity(random, kind);
  c.weights = weights_of(whole(random, 0, 1) ? 6.16 : uniform(random, 0.2, 8));
  c.k = whole(random, 0, 9) == 0 ? 0 : std::pow(10.0, uniform(random, 0, 6)) / 255;
  c.min_size = static_cast<std::int64_t>(std::pow(10.0, uniform(random, 0, 3)));
  return c;
}

void test_random_volumes(long count, unsigned seed) {
  Random random(seed);
  for (long i = 0; i < count; ++i) {
    const Case c = random_case(random);
    const Labels expected = expected_labels(c);
    if (labels_of(c) != expected) fail(c, "volume " + std::to_string(i));
    const std::size_t capacity = static_cast<std::size_t>(whole(random, 1, 200));
    if (labels_of(c, capacity) != expected) fail(c, "volume " + std::to_string(i) + " in small buckets");
  }
}

// Long enough for the radix sort and for more than one bucket of the usual capacity.
void test_larger_volume(unsigned seed) {
  Random random(seed);
  Case c{{40, 30, 12}, std::vector<double>(40 * 30 * 12), weights_of(6.16), 300 / 255.0, 300};
  for (int kind = 0; kind < 4; ++kind) {
    for (double& value : c.image) value = random_intensity(random, kind);
    const Labels expected = expected_labels(c);
    for (const std::size_t capacity : {0, 300, 9000})
      if (labels_of(c, capacity) != expected) fail(c, "larger volume of kind " + std::to_string(kind));
  }
}

void test_known_volumes() {
  const Case line{{6, 1, 1}, {0, 0, 9, 9, 9, 200}, weights_of(1), 1 / 255.0, 1};
  if (labels_of(line) != Labels{0, 0, 1, 1, 1, 2}) fail(line, "plateaus of a line");
  Case pairs = line;
  pairs.min_size = 2;
  if (labels_of(pairs) != Labels{0, 0, 1, 1, 1, 1}) fail(pairs, "the lone voxel joins its nearest plateau");
  const Case apart{{3, 1, 1}, {1, kNan, 1}, weights_of(1), 1, 100};
  if (labels_of(apart) != Labels{0, -1, 1}) fail(apart, "nothing merges across excluded voxels");
  const Case single{{1, 1, 1}, {3}, weights_of(1), 1, 100};
  if (labels_of(single) != Labels{0}) fail(single, "one voxel");
}

void test_extents() {
  const std::vector<double> weights = weights_of(1);
  if (medfs::felzenszwalb_3d(nullptr, {0, 5, 3}, weights.data(), 1, 9, nullptr) != 0) std::exit(1);
  const std::int64_t huge = std::int64_t{1} << 40;
  for (const Grid& grid : {Grid{huge, huge, huge}, Grid{2048, 1024, 1024}, Grid{1, 1, huge}, Grid{-1, 1, 1}}) {
    try {
      medfs::felzenszwalb_3d(nullptr, grid, weights.data(), 1, 9, nullptr);
    } catch (const std::invalid_argument&) {
      continue;
    }
    std::printf("FAILED: an extent of %lld x %lld x %lld was accepted\n", (long long)grid.sx, (long long)grid.sy,
                (long long)grid.sz);
    std::exit(1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const long count = argc > 1 ? std::atol(argv[1]) : 2000;
  const unsigned seed = argc > 2 ? static_cast<unsigned>(std::atol(argv[2])) : 1;
  test_extents();
  test_known_volumes();
  test_larger_volume(seed);
  test_random_volumes(count, seed);
  std::printf("%ld random volumes agree with the definition\n", count);
  return 0;
}
