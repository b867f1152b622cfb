# cython: language_level=3, boundscheck=False, wraparound=False
"""The C++ supervoxels for NumPy arrays; only ``medfs.supervoxels`` imports this module."""

from libc.stdint cimport int32_t, int64_t


cdef extern from "felzenszwalb.hpp" namespace "medfs" nogil:
    int32_t segment "medfs::felzenszwalb_3d"(
        const double* image, int64_t sx, int64_t sy, int64_t sz,
        const double* weights, double k, int64_t min_size, int32_t* labels) except +


def felzenszwalb_3d(
    const double[:, :, ::1] image not None,
    const double[::1] weights not None,
    double k,
    int64_t min_size,
    int32_t[:, :, ::1] labels not None,
):
    """Label a (z, y, x) image in place of ``labels``; NaN voxels become -1; returns the number of segments."""
    cdef int64_t sz = image.shape[0], sy = image.shape[1], sx = image.shape[2]
    if labels.shape[0] != sz or labels.shape[1] != sy or labels.shape[2] != sx:
        raise ValueError("labels and image differ in shape")
    if weights.shape[0] != 13:
        raise ValueError("expected one weight for each of the 13 directions")
    if sz == 0 or sy == 0 or sx == 0:
        return 0
    cdef int32_t segments
    with nogil:
        segments = segment(&image[0, 0, 0], sx, sy, sz, &weights[0], k, min_size, &labels[0, 0, 0])
    return segments
