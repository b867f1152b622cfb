"""Cubes go out and come back, to the voxel."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfs.errors import UsageError
from medfs.semisup.cubes import cubes_along, draw_sources, merge_cubes, mix_cubes, split_cubes, unmix_cubes

GRIDS = st.integers(2, 3).flatmap(
    lambda dims: st.tuples(*[st.lists(st.integers(1, 4), min_size=dims, max_size=dims)] * 2)
)


def volume_of(cubes, sides, batch=2, channels=3):
    size = [count * side for count, side in zip(cubes, sides, strict=True)]
    return torch.arange(batch * channels * int(np.prod(size))).view(batch, channels, *size)


@settings(max_examples=40, deadline=None)
@given(GRIDS)
def test_any_grid_of_any_cubes_comes_back_whole(grid):
    cubes, sides = grid
    volume = volume_of(cubes, sides)
    parts = split_cubes(volume, cubes)
    assert parts.shape == (2, int(np.prod(cubes)), 3, *sides)
    assert torch.equal(merge_cubes(parts, cubes), volume)


@pytest.mark.parametrize(("cubes", "sides"), [((2, 3), (2, 1)), ((3, 3, 3), (2, 2, 2)), ((1, 2, 4), (3, 1, 2))])
def test_cubes_are_the_slices_of_the_volume_in_c_order(cubes, sides):
    volume = volume_of(cubes, sides)
    for number, place in enumerate(itertools.product(*map(range, cubes))):
        box = tuple(slice(p * side, (p + 1) * side) for p, side in zip(place, sides, strict=True))
        assert torch.equal(split_cubes(volume, cubes)[:, number], volume[(slice(None), slice(None), *box)])


@pytest.mark.parametrize(("order", "expected"), [("spatial", 27), ("published", 9)])
def test_fault_2_cubes_in_their_place_of_27(order, expected):
    volume = volume_of((3, 3, 3), (2, 2, 2))
    merged = merge_cubes(split_cubes(volume, (3, 3, 3)), (3, 3, 3), order)
    pairs = zip(split_cubes(volume, (3, 3, 3))[0], split_cubes(merged, (3, 3, 3))[0], strict=True)
    assert sum(torch.equal(before, after) for before, after in pairs) == expected


@pytest.mark.parametrize("cubes", [(3, 3, 3), (2, 3, 2), (2, 2)])
def test_the_published_order_exchanges_first_and_last_axis_of_the_grid_but_not_of_the_cubes(cubes):
    sides = (2, 4, 2)[: len(cubes)] if len(cubes) == 3 else (2, 2)
    volume = volume_of(cubes, sides)
    merged = split_cubes(merge_cubes(split_cubes(volume, cubes), cubes, "published"), cubes)
    grid = split_cubes(volume, cubes).unflatten(1, cubes)
    assert torch.equal(merged.unflatten(1, cubes), grid.transpose(1, len(cubes)))


@settings(max_examples=25, deadline=None)
@given(GRIDS, st.integers(1, 5), st.integers(0, 2**31))
def test_exchanged_cubes_keep_their_place_and_come_back(grid, batch, seed):
    cubes, sides = grid
    volume = volume_of(cubes, sides, batch)
    torch.manual_seed(seed)
    sources = draw_sources(batch, int(np.prod(cubes)))
    assert torch.equal(sources.sort(0).values, torch.arange(batch)[:, None].expand_as(sources))
    mixed = mix_cubes(volume, sources, cubes)
    assert torch.equal(unmix_cubes(mixed, sources, cubes), volume)
    for image, place in itertools.product(range(batch), range(sources.shape[1])):
        taken = split_cubes(volume, cubes)[sources[image, place], place]
        assert torch.equal(split_cubes(mixed, cubes)[image, place], taken)


def test_places_are_exchanged_independently():
    torch.manual_seed(0)
    sources = draw_sources(4, 27)
    assert len({tuple(column.tolist()) for column in sources.T}) > 10


def test_cubes_exchanged_in_an_image_come_back_on_a_coarser_grid():
    torch.manual_seed(0)
    volume = torch.rand(3, 1, 12, 12, 12)
    sources = draw_sources(3, 27)
    pooled = torch.nn.functional.avg_pool3d(mix_cubes(volume, sources, (3, 3, 3)), 2)
    expected = torch.nn.functional.avg_pool3d(volume, 2)
    torch.testing.assert_close(unmix_cubes(pooled, sources, (3, 3, 3)), expected)


@pytest.mark.parametrize(
    ("patch", "cubes", "levels"),
    [((96, 96, 96), 3, 6), ((96, 96, 80), 3, 5), ((32, 32), 1, 3), ((48, 48, 48), 3, 5), ((32, 32), (2, 2, 2), 2)],
)
def test_the_network_s_depth_follows_the_cube(patch, cubes, levels):
    with pytest.raises(UsageError, match="cubes with") as caught:
        cubes_along(patch, cubes, levels)
    assert "\n" not in str(caught.value)


def test_the_deepest_stage_of_a_cube_has_two_voxels():
    assert cubes_along((96, 96, 96), 3, 5) == (3, 3, 3)
    assert cubes_along((48, 48, 48), 3, 4) == (3, 3, 3)
    assert cubes_along((64, 32), (4, 1), 3) == (4, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: split_cubes(torch.zeros(1, 1, 6, 6), (4, 2)),
        lambda: split_cubes(torch.zeros(1, 1, 6, 6), (2, 2, 2)),
        lambda: merge_cubes(torch.zeros(1, 5, 1, 2, 2), (2, 2)),
        lambda: merge_cubes(torch.zeros(1, 6, 1, 2, 2), (2, 3), "published"),
        lambda: merge_cubes(torch.zeros(1, 4, 1, 2, 2), (2, 2), "reversed"),
    ],
)
def test_what_does_not_fit_is_one_line(wrong):
    with pytest.raises(UsageError) as caught:
        wrong()
    assert "\n" not in str(caught.value)
