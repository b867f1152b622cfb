"""Scores in blocks of slices give the labels that all of them at once give."""

import weakref

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfs.inference.native_grid import labels_of_blocks
from medfs.transforms import argmax_on_grid

SIZE = (11, 9, 13)  # working X, Y, Z
WORKING = np.array([[-4.0, 0, 0, 10], [0, 4.0, 0, -20], [0, 0, 6.0, 5], [0, 0, 0, 1]])


def scores(groups=2, classes=3):
    return torch.from_numpy(np.random.default_rng(0).random((groups, classes, *SIZE[::-1]), np.float32))


def blocks(whole, length):
    for start in range(0, SIZE[2], length):
        block = range(start, min(start + length, SIZE[2]))
        yield block, whole[:, :, block.start : block.stop]


def expected(whole, shape, affine):
    return np.stack([argmax_on_grid(each.permute(0, 3, 2, 1), WORKING, shape, affine).numpy() for each in whole])


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 14),
    codes=st.sampled_from(["LAS", "RPI", "PSR", "SAL", "IRP"]),
    spacing_mm=st.tuples(*[st.floats(1.5, 12)] * 3),
    angle=st.floats(-0.3, 0.3),
    shift_mm=st.tuples(*[st.floats(-30, 30)] * 3),
)
def test_blocks_of_any_length_give_what_all_slices_give(length, codes, spacing_mm, angle, shift_mm):
    shape = tuple(max(1, round(40 / step)) for step in spacing_mm)
    turn = nib.orientations.axcodes2ornt(tuple(codes))
    affine = np.diag([*spacing_mm, 1.0]) @ nib.orientations.inv_ornt_aff(turn, shape)
    rotation = np.eye(4)
    rotation[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = rotation @ affine
    affine[:3, 3] += np.array([-30.0, -20, 5]) + shift_mm
    whole = scores()
    found = labels_of_blocks(blocks(whole, length), SIZE[2], WORKING, shape, affine)
    assert found.dtype == np.uint8
    # Rounding of coordinates may turn a voxel where two classes are equally probable.
    assert (found != expected(whole, shape, affine)).mean() < 2e-3


def test_slices_that_no_voxel_waits_for_are_let_go():
    whole, references, alive = scores(groups=1), [], []

    def watched():
        for block, part in blocks(whole, 2):
            alive.append(sum(reference() is not None for reference in references))
            scored = part.clone()
            references.append(weakref.ref(scored))
            yield block, scored
            del scored

    labels_of_blocks(watched(), SIZE[2], WORKING, SIZE, WORKING)
    assert max(alive) <= 1


@pytest.mark.parametrize("slices", [1, 13])
def test_the_own_grid_gives_the_highest_class(slices):
    whole = scores()[:, :, :slices]
    found = labels_of_blocks([(range(slices), whole)], slices, WORKING, (*SIZE[:2], slices), WORKING)
    np.testing.assert_array_equal(found, whole.argmax(dim=1).permute(0, 3, 2, 1).numpy())
