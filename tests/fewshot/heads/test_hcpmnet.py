"""HCPMNet's own: repairs, several shots, what is said where it cannot be done."""

import pytest
import torch

from medfs.errors import UsageError
from medfs.fewshot.heads import HCPMHead
from medfs.losses import IGNORED, probability_nll
from medfs.types import Prediction


def head(**options):
    torch.manual_seed(0)
    return HCPMHead((6, 8), channels=6, hidden=4, window=4, stride=2, **options).eval()


def episode(size=(12, 12), shots=1, grid=4):
    """Features of supports and of a query, at ``1 / grid`` of the masks."""
    random = torch.Generator().manual_seed(3)
    coarse = [n // grid for n in size]
    mask = torch.zeros(1, shots, *size, dtype=torch.bool)
    mask[(..., *[slice(2, 9)] * len(size))] = True
    support = tuple(torch.randn(1, shots, c, *coarse, generator=random).relu() for c in (6, 8))
    query = tuple(torch.randn(1, c, *coarse, generator=random).relu() for c in (6, 8))
    return query, support, mask


def logits(built, query, support, mask):
    return built.match(query, support, mask, built.extract(support, mask)).logits


def gradient_of_thresholds(prior):
    """With respect to the scalars (b, f) of the support, whose row alone is asked for."""
    built, (query, support, mask) = head(prior=prior), episode()
    scalars = torch.zeros(1, 4, requires_grad=True)
    prediction = built.match_with(scalars, query, support, mask, built.extract(support, mask))
    prediction.logits[:, 1].sum().backward()
    return scalars.grad[0, :2]


def test_soft_priors_give_their_thresholds_a_gradient():
    assert (gradient_of_thresholds("hard") == 0).all()
    assert (gradient_of_thresholds("soft") != 0).all()


def test_scalars_start_where_they_are_told_to():
    query, support, mask = episode()
    for start in (0.0, 8.0):
        built = head(initial_threshold=start)
        scalars = built.match(query, support, mask, built.extract(support, mask)).side["scalars"]
        torch.testing.assert_close(scalars, torch.full((1, 4), start), rtol=0, atol=1)


def test_a_wrong_decision_has_a_gradient_however_sure_it_is():
    logits = torch.tensor([60.0, -60.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2).clone().requires_grad_()
    target = torch.tensor([[[0, 1], [IGNORED, IGNORED]]])
    head().loss(Prediction(logits), target).backward()
    assert logits.grad[0, :, 0, 1].tolist() == pytest.approx([1 / 1.1, -1 / 1.1])
    assert (logits.grad[0, :, 1] == 0).all()


def test_the_loss_is_the_likelihood_of_the_probabilities():
    random = torch.Generator().manual_seed(0)
    prediction = Prediction(torch.randn(2, 2, 5, 5, generator=random))
    target = torch.randint(0, 2, (2, 5, 5), generator=random)
    expected = probability_nll(prediction.probability, target, (0.1, 1.0))
    torch.testing.assert_close(head().loss(prediction, target), expected)
    assert head().loss(prediction, torch.full_like(target, IGNORED)) == 0


def test_priors_exclude_each_other():
    built, (query, support, mask) = head(), episode()
    prior = built.match(query, support, mask, built.extract(support, mask)).side["prior"]
    assert prior.shape == (1, 2, 3, 3)
    assert (prior.sum(dim=1) <= 1).all()


@pytest.mark.parametrize("option", [{"scaled_attention": True}, {"mean_similarity": True}, {"pool": "feature"}])
def test_each_repair_changes_the_result_and_keeps_it_finite(option):
    given = episode((24, 24))
    with torch.no_grad():
        published, repaired = logits(head(), *given), logits(head(**option), *given)
    assert torch.isfinite(repaired).all()
    assert not torch.allclose(published, repaired)


def test_the_same_support_shown_twice_is_as_good_as_once():
    query, support, mask = episode()
    twice = tuple(stage.repeat(1, 2, *[1] * (stage.ndim - 2)) for stage in support)
    built = head(mean_similarity=True)
    with torch.no_grad():
        once, both = logits(built, query, support, mask), logits(built, query, twice, mask.repeat(1, 2, 1, 1))
    torch.testing.assert_close(once, both)


def test_windows_follow_the_grid_of_the_features():
    _, support, mask = episode((8, 24, 24))
    (prototypes,) = head(pool="feature").extract(support, mask)
    # windows of 4 voxels are one place of the features here: background of 2 x 6 x 6 places less the organ's
    assert prototypes.background.shape[1] <= 1 + 2 * 6 * 6
    assert prototypes.side["background_valid"].all()


def test_alignment_keeps_the_scalars_of_the_first_direction():
    built, (query, support, mask) = head(), episode(shots=2)
    prediction = built.match(query, support, mask, built.extract(support, mask))
    roles = tuple(stage[:, None].repeat_interleave(2, dim=0) for stage in query)
    bound, found = built.swapped(prediction), mask.flatten(0, 1)[:, None]
    again = bound.match(tuple(stage[0] for stage in support), roles, found, bound.extract(roles, found))
    torch.testing.assert_close(again.side["scalars"], prediction.side["scalars"].repeat(2, 1))


def test_decoders_of_volumes_refuse_nothing_but_slices():
    volumes = head(spatial_dims=3, pool="feature")
    with torch.no_grad():
        assert logits(volumes, *episode((8, 12, 12))).shape == (1, 2, 8, 12, 12)
    with pytest.raises(UsageError, match="kernels of 3 axes"):
        logits(volumes, *episode())


def test_what_the_head_cannot_do_is_said():
    with pytest.raises(UsageError, match="expected hard or soft"):
        HCPMHead(prior="firm")
    with pytest.raises(UsageError, match="expected 2 or 3"):
        HCPMHead(spatial_dims=1)
