# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The published 3D Felzenszwalb as it is described: all edges as NumPy arrays, an argsort, a union-find loop.

Written from the description of the algorithm, for comparison only. The forest has no path compression on lookup; a
join points both paths at the smaller root.
"""

import numpy as np
from scipy.ndimage import gaussian_filter


cdef inline Py_ssize_t find_root(Py_ssize_t[::1] forest, Py_ssize_t i) noexcept nogil:
    while forest[i] < i:
        i = forest[i]
    return i


cdef inline void set_root(Py_ssize_t[::1] forest, Py_ssize_t i, Py_ssize_t root) noexcept nogil:
    cdef Py_ssize_t following
    while forest[i] < i:
        following = forest[i]
        forest[i] = root
        i = following
    forest[i] = root


cdef inline void join(Py_ssize_t[::1] forest, Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    cdef Py_ssize_t root = min(find_root(forest, a), find_root(forest, b))
    set_root(forest, a, root)
    set_root(forest, b, root)


def _all_edges(image, spacing_zyx):
    s = spacing_zyx[0] / spacing_zyx[1]
    edge, corner = np.sqrt(1 + s**2) / np.sqrt(2), np.sqrt(2 + s**2) / np.sqrt(3)
    directions = {
        (0, 1, 0): 1, (0, 1, 1): 1, (0, 0, 1): 1, (0, 1, -1): 1,
        (1, 1, 0): edge, (1, 1, 1): corner, (1, 0, 1): edge, (1, -1, 0): edge, (1, -1, -1): corner,
        (1, 0, -1): edge, (1, 1, -1): corner, (1, -1, 1): corner, (1, 0, 0): s,
    }
    number = np.arange(image.size).reshape(image.shape)
    costs, ends = [], []
    for direction, weight in directions.items():
        low = tuple(slice(max(0, -d), n - max(0, d)) for d, n in zip(direction, image.shape))
        high = tuple(slice(max(0, d), n - max(0, -d)) for d, n in zip(direction, image.shape))
        costs.append(np.sqrt(weight**2 * (image[low] - image[high]) ** 2).ravel())
        ends.append(np.c_[number[low].ravel(), number[high].ravel()])
    return np.hstack(costs), np.vstack(ends)


def felzenszwalb_3d(volume, double scale, double sigma_mm, Py_ssize_t min_size, spacing_mm, kind):
    """Labels of a (Z, Y, X) volume of 0..255; ``spacing_mm`` and ``kind`` (of sort) as in NumPy's order."""
    image = gaussian_filter(np.asarray(volume, np.float64), sigma_mm / np.asarray(spacing_mm))
    costs_array, ends_array = _all_edges(image, spacing_mm)
    order = np.argsort(costs_array, kind=kind)
    cdef Py_ssize_t[:, ::1] ends = np.ascontiguousarray(ends_array[order])
    cdef double[::1] costs = np.ascontiguousarray(costs_array[order])
    forest_array = np.arange(image.size)
    cdef Py_ssize_t[::1] forest = forest_array
    cdef Py_ssize_t[::1] sizes = np.ones(image.size, np.intp)
    cdef double[::1] internal = np.zeros(image.size)
    cdef double k = scale / 255
    cdef Py_ssize_t i, a, b, root
    cdef float limit
    with nogil:
        for i in range(costs.shape[0]):
            a, b = find_root(forest, ends[i, 0]), find_root(forest, ends[i, 1])
            if a == b:
                continue
            limit = min(<float>(internal[a] + k / sizes[a]), <float>(internal[b] + k / sizes[b]))
            if costs[i] < limit:
                join(forest, a, b)
                root = min(a, b)
                sizes[root] = sizes[a] + sizes[b]
                internal[root] = costs[i]
        for i in range(costs.shape[0]):
            a, b = find_root(forest, ends[i, 0]), find_root(forest, ends[i, 1])
            if a != b and (sizes[a] < min_size or sizes[b] < min_size):
                join(forest, a, b)
                sizes[min(a, b)] = sizes[a] + sizes[b]
        for i in range(forest.shape[0]):
            forest[i] = forest[forest[i]]
    return np.unique(forest_array, return_inverse=True)[1].reshape(image.shape)
