# cython: language_level=3, boundscheck=False, wraparound=False, autotestdict=False
"""The C++ supervoxels for NumPy arrays; only ``medfs.supervoxels`` imports this module."""

from libc.stdint cimport int32_t, int64_t


cdef extern from "felzenszwalb.hpp" namespace "medfs" nogil:
    cdef struct Grid:
        int64_t sx, sy, sz

    int32_t segment "medfs::felzenszwalb_3d"(
        const double* image, const Grid& grid, const double* weights,
        double k, int64_t min_size, int32_t* labels) except +


def felzenszwalb_3d(
    const double[:, :, ::1] image not None,
    const double[::1] weights not None,
    double k,
    int64_t min_size,
    int32_t[:, :, ::1] labels not None,
):
    """Label a (z, y, x) image in place of ``labels``; NaN voxels become -1; returns the number of segments."""
    cdef Grid grid
    grid.sz, grid.sy, grid.sx = image.shape[0], image.shape[1], image.shape[2]
    if labels.shape[0] != grid.sz or labels.shape[1] != grid.sy or labels.shape[2] != grid.sx:
        raise ValueError("labels and image differ in shape")
    if weights.shape[0] != 13:
        raise ValueError("expected one weight for each of the 13 directions")
    if grid.sz == 0 or grid.sy == 0 or grid.sx == 0:
        return 0
    cdef int32_t segments
    with nogil:
        segments = segment(&image[0, 0, 0], grid, &weights[0], k, min_size, &labels[0, 0, 0])
    return segments
