"""Q-Net's own: refinement on an episode, and the threshold of alignment."""

import pytest
import torch

from medfs.errors import UsageError
from medfs.fewshot.heads import QNetHead
from medfs.types import Prediction

SIZE = (8, 8)


def head(bias=-10.0, **options):
    """Reductions that pass the two channels through, and one threshold for all images."""
    built = QNetHead((2, 2), channels=2, hidden=4, **options)
    with torch.no_grad():
        for reduction in built.reduce:
            reduction.weight.copy_(torch.eye(2)[..., None])
        built.thresholds.scalars[0].weight.zero_()
        built.thresholds.scalars[0].bias.fill_(bias)
    return built


def episode(batch=1, seed=0):
    """Random features on both levels, and a mask of the left half."""
    random = torch.Generator().manual_seed(seed)
    support = tuple(torch.randn(batch, 1, 2, n, n, generator=random) for n in (8, 4))
    query = tuple(torch.randn(batch, 2, n, n, generator=random) for n in (8, 4))
    mask = torch.zeros(batch, 1, *SIZE, dtype=torch.bool)
    mask[..., :4] = True
    return query, support, mask


def prototypes(built, support, mask):
    return [level.foreground for level in built.refined(built.extract(support, mask))]


def test_refined_prototypes_last_as_long_as_the_context_even_if_it_fails():
    built, (query, support, mask) = head(), episode()
    before = prototypes(built, support, mask)
    within = []

    def fail():
        with built.adapt(query, support, mask):
            within.extend(prototypes(built, support, mask))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    after = prototypes(built, support, mask)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(before, within, strict=True))


def test_a_step_of_adam_moves_each_number_by_the_learning_rate_at_most():
    built, (query, support, mask) = head(refinement_steps=1, learning_rate=0.25), episode()
    before = prototypes(built, support, mask)
    with built.adapt(query, support, mask):
        moved = [(a - b).abs() for a, b in zip(before, prototypes(built, support, mask), strict=True)]
    # the first step of Adam is the sign of the gradient
    torch.testing.assert_close(moved[0], torch.full((1, 1, 2), 0.25), rtol=1e-3, atol=0)


def test_nothing_moves_where_nothing_was_found_or_without_steps():
    query, support, mask = episode()
    for built in (head(bias=-100.0), head(refinement_steps=0)):
        before = prototypes(built, support, mask)
        with built.adapt(query, support, mask):
            within = prototypes(built, support, mask)
        assert all(torch.equal(a, b) for a, b in zip(before, within, strict=True))


def test_equal_features_everywhere_stay_finite():
    built, (query, support, mask) = head(), episode()
    flat = tuple(torch.ones_like(stage) for stage in query)
    with built.adapt(flat, support, mask):
        assert all(torch.isfinite(each).all() for each in prototypes(built, support, mask))


def test_episodes_of_a_batch_are_refined_independently():
    built, (query, support, mask) = head(), episode(batch=2)
    with built.adapt(query, support, mask):
        both = prototypes(built, support, mask)
    second = tuple(stage[1:] for stage in query), tuple(stage[1:] for stage in support), mask[1:]
    with built.adapt(*second):
        alone = prototypes(built, *second[1:])
    for a, b in zip(both, alone, strict=True):
        torch.testing.assert_close(a[1:], b)


def test_refinement_works_under_inference_mode_and_leaves_no_gradient():
    built = head()
    with torch.inference_mode():
        query, support, mask = episode()
        with built.adapt(query, support, mask):
            built.match(query, support, mask, built.extract(support, mask))
    assert all(parameter.grad is None for parameter in built.parameters())


def test_alignment_decides_with_the_threshold_of_the_query_for_every_shot():
    built, (query, support, mask) = head(), episode(batch=2)
    given = torch.tensor([[-3.0], [4.0]])
    prediction = Prediction(torch.zeros(2, 2, *SIZE), {"threshold": given})
    again = built.swapped(prediction)
    queries, supports = (tuple(s.repeat_interleave(2, dim=0) for s in stages) for stages in (query, support))
    masks = mask.repeat_interleave(2, dim=0)
    swapped = again.match(queries, supports, masks, again.extract(supports, masks))
    torch.testing.assert_close(swapped.side["threshold"], torch.tensor([[-3.0], [-3.0], [4.0], [4.0]]))


def test_what_the_head_cannot_do_is_said():
    with pytest.raises(UsageError, match="QNetHead: pool 'slice'; expected image or feature"):
        QNetHead(pool="slice")
    with pytest.raises(UsageError, match="not both weights 0"):
        QNetHead(level_weights=(0, 0))
