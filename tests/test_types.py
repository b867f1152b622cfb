"""Episodes whose parts do not fit cannot be made, and batches keep what is a scan's own."""

import pickle

import pytest
import torch

from medfs.errors import UsageError
from medfs.types import Episode


def side(*size, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(1, *size, generator=random) + 1, torch.rand(*size, generator=random) > 0.5


def episode(*size, shots=1, name=None, seed=0):
    supports = [side(*size, seed=seed + shot) for shot in range(shots)]
    return Episode.of(supports, side(*size, seed=seed + 9), name)


def changed(**parts):
    whole = {
        "support_image": torch.zeros(2, 3, 1, 4, 5),
        "support_mask": torch.zeros(2, 3, 4, 5, dtype=torch.bool),
        "query_image": torch.zeros(2, 1, 4, 5),
        "query_mask": torch.zeros(2, 4, 5, dtype=torch.bool),
    }
    return Episode(**{**whole, **parts})


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("support_image", torch.zeros(2, 3, 4, 5)),
        ("support_mask", torch.zeros(2, 3, 4, 6, dtype=torch.bool)),
        ("support_mask", torch.zeros(2, 3, 4, 5)),
        ("query_image", torch.zeros(2, 1, 5, 4)),
        ("query_image", torch.zeros(2, 3, 4, 5)),
        ("query_image", torch.zeros(2, 1, 4, 5, dtype=torch.int64)),
        ("query_mask", torch.zeros(1, 4, 5, dtype=torch.bool)),
        ("query_mask", torch.zeros(2, 4, 5, dtype=torch.uint8)),
        ("support_valid", torch.ones(2, 1, 4, 5, dtype=torch.bool)),
        ("query_valid", torch.ones(2, 3, 4, 5, dtype=torch.bool)),
        ("class_name", ("liver",)),
    ],
)
def test_a_part_of_another_shape_or_type_is_refused_at_construction(part, value):
    changed()
    with pytest.raises(UsageError, match=r"^episode: "):
        changed(**{part: value})


@pytest.mark.parametrize("size", [(4, 5), (3, 4, 5)])
@pytest.mark.parametrize("shots", [1, 3])
def test_slices_and_volumes_are_one_type(size, shots):
    one = episode(*size, shots=shots)
    assert one.support_image.shape == (1, shots, 1, *size)
    assert one.support_mask.shape == (1, shots, *size)
    assert one.query_image.shape == (1, 1, *size)
    assert one.query_mask.shape == (1, *size)
    assert one.support_valid is None
    assert one.query_valid is None


def test_sides_of_unequal_size_are_padded_with_their_lowest_value_and_marked():
    support, query = side(4, 6), side(5, 3)
    one = Episode.of([support], query)
    assert one.query_image.shape == (1, 1, 5, 6)
    assert torch.equal(one.support_image[0, 0, :, :4], support[0])
    assert torch.equal(one.query_image[0, :, :, :3], query[0])
    assert (one.support_image[0, 0, 0, 4] == support[0].min()).all()
    assert (one.query_image[0, 0, :, 3:] == query[0].min()).all()
    assert one.support_valid[0, 0].sum() == 24
    assert one.support_valid[0, 0, :4].all()
    assert one.query_valid[0].sum() == 15
    assert not one.support_mask[0, 0, 4].any()
    assert not one.query_mask[0, :, 3:].any()


def test_an_episode_without_query_mask_stays_without():
    one = Episode.of([side(4, 5)], (side(4, 5)[0], None))
    assert one.query_mask is None
    assert Episode.collate([one, one]).query_mask is None


def test_a_batch_holds_its_episodes_in_order():
    episodes = [episode(4, 5, name=name, seed=10 * number) for number, name in enumerate(("liver", "spleen"))]
    batch = Episode.collate(episodes)
    assert batch.class_name == ("liver", "spleen")
    assert batch.support_valid is None
    for number, one in enumerate(episodes):
        assert torch.equal(batch.support_image[number], one.support_image[0])
        assert torch.equal(batch.support_mask[number], one.support_mask[0])
        assert torch.equal(batch.query_image[number], one.query_image[0])
        assert torch.equal(batch.query_mask[number], one.query_mask[0])


def test_a_batch_of_unequal_sizes_is_padded_and_marked():
    small, large = episode(2, 4, 5), episode(3, 4, 4, seed=3)
    batch = Episode.collate([small, large])
    assert batch.query_image.shape == (2, 1, 3, 4, 5)
    assert [int(valid.sum()) for valid in batch.query_valid] == [40, 48]
    assert [int(valid.sum()) for valid in batch.support_valid] == [40, 48]
    assert torch.equal(batch.query_image[1, :, :, :, :4], large.query_image[0])
    again = Episode.collate([batch, episode(3, 4, 5)])
    assert [int(valid.sum()) for valid in again.query_valid] == [40, 48, 60]


def test_what_cannot_be_one_batch_is_refused():
    one = episode(4, 5)
    for other in (episode(4, 5, shots=2), episode(3, 4, 5), episode(4, 5, name="liver")):
        with pytest.raises(UsageError, match="expected equal ones"):
            Episode.collate([one, other])
    with pytest.raises(UsageError, match="at least one"):
        Episode.collate([])
    with pytest.raises(UsageError, match="no support"):
        Episode.of([], side(4, 5))


def test_an_episode_goes_to_a_device_and_through_a_pipe_whole():
    one = Episode.collate([episode(4, 5, name="liver"), episode(3, 5, name="spleen")])
    for other in (one.to("cpu"), pickle.loads(pickle.dumps(one))):
        assert torch.equal(other.support_valid, one.support_valid)
        assert torch.equal(other.query_mask, one.query_mask)
        assert other.class_name == one.class_name
    assert one.to("meta").query_image.device.type == "meta"
