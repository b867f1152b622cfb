"""The prototypes of cells, compared with a loop over the cells."""

import pytest
import torch
import torch.nn.functional as F

from medfs.networks.cell_prototypes import _cells, cell_similarity


@pytest.mark.parametrize(
    ("size", "cells"), [((50, 50), 25), ((25, 25), 25), ((13, 13), 25), ((16, 8), 16), ((3, 2), 6)]
)
def test_a_grid_has_the_published_number_of_cells(size, cells):
    assert len(_cells(size[0], 4)) * len(_cells(size[1], 4)) == cells


@pytest.mark.parametrize("size", [(9, 13), (4, 5, 9)])
def test_the_similarity_is_the_mean_over_the_cells(size):
    random = torch.Generator().manual_seed(0)
    query, support = (torch.randn(1, 6, *size, generator=random) for _ in range(2))
    share = (torch.rand(1, *size, generator=random) > 0.7).float()
    boxes = [[]]
    for length in size:
        side = max(1, length // 4)
        starts = [*range(0, length - side + 1, side)]
        starts += [length - side] if starts[-1] + side < length else []
        boxes = [[*box, slice(start, start + side)] for box in boxes for start in starts]
    expected = torch.zeros(1, *size)
    for box in boxes:
        part = (..., *box)
        values, weight = support[part].flatten(2), share[part].flatten(1)
        prototype = (values * weight[:, None]).sum(dim=2) / weight.sum().clamp(min=1)
        expected += F.cosine_similarity(query, prototype.view(1, 6, *[1] * len(size)), dim=1) / len(boxes)
    torch.testing.assert_close(cell_similarity(query, support, share)[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_an_absent_class_resembles_nothing():
    assert not cell_similarity(torch.ones(1, 2, 8, 8), torch.ones(1, 2, 8, 8), torch.zeros(1, 8, 8)).any()
