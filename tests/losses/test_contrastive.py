import math

import pytest
import torch
from torch.nn.functional import normalize

from medfs.errors import UsageError
from medfs.losses import VisualTextualContrast, entropy_threshold, reliable_labels
from medfs.losses import contrastive as module
from medfs.losses.contrastive import draw_per_class, pool_contrast


def contrast_by_loops(pool: torch.Tensor, classes: torch.Tensor, temperature: float) -> float:
    unit = normalize(pool.double(), dim=1)
    total = 0.0
    for i in range(len(unit)):
        score = [float(unit[i] @ unit[j]) / temperature for j in range(len(unit))]
        negatives = sum(math.exp(score[k]) for k in range(len(unit)) if classes[k] != classes[i])
        positives = [j for j in range(len(unit)) if classes[j] == classes[i] and j != i]
        terms = [score[j] - math.log(math.exp(score[j]) + negatives) for j in positives]
        total -= sum(terms) / (len(positives) + 1e-5)
    return total / len(unit)


@pytest.mark.parametrize("rows", [3, 1024])
def test_the_contrast_of_a_pool_equals_loops_over_pairs(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", rows)
    torch.manual_seed(0)
    pool, classes = torch.randn(20, 6), torch.randint(4, (20,))
    value = pool_contrast(pool, classes, 0.3)
    assert value.item() == pytest.approx(contrast_by_loops(pool, classes, 0.3), rel=1e-5)


def test_the_gradient_does_not_depend_on_how_many_anchors_are_compared_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    pool, classes = torch.randn(20, 6, dtype=torch.float64), torch.randint(4, (20,))
    gradients = []
    for rows in (3, 1024):
        monkeypatch.setattr(module, "_ROWS", rows)
        leaf = pool.clone().requires_grad_()
        pool_contrast(leaf, classes, 0.3).backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)
    assert torch.autograd.gradcheck(lambda p: pool_contrast(p, classes, 0.3), pool.requires_grad_())


def inputs(dims: int = 3) -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
    torch.manual_seed(0)
    visuals = [torch.randn(2, 4, *[8] * dims), torch.randn(2, 6, *[4] * dims)]
    texts = [torch.randn(3, 2, 4), torch.randn(3, 2, 6)]
    return visuals, texts, torch.randint(-1, 3, (2, *[16] * dims))


@pytest.mark.parametrize("dims", [2, 3])
def test_scales_are_summed_over_labelled_voxels_and_texts(dims: int) -> None:
    visuals, texts, labels = inputs(dims)
    value = VisualTextualContrast(samples_per_class=None)(visuals, texts, labels)
    expected = 0.0
    for visual, text, stride in zip(visuals, texts, (2, 4), strict=True):
        coarse = labels[(slice(None), *[slice(None, None, stride)] * dims)]
        kept = coarse >= 0
        pool = torch.cat([visual.movedim(1, -1)[kept], text.flatten(0, 1)])
        classes = torch.cat([coarse[kept], torch.tensor([0, 0, 1, 1, 2, 2])])
        expected += pool_contrast(pool, classes, 0.07)
    torch.testing.assert_close(value, expected)


def test_draws_follow_the_generator() -> None:
    visuals, texts, labels = inputs()
    contrast = VisualTextualContrast(samples_per_class=(5, 3))
    values = [contrast(visuals, texts, labels, torch.Generator().manual_seed(seed)).item() for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


def test_every_class_of_every_volume_is_drawn_up_to_the_limit() -> None:
    labels = torch.tensor([[0] * 50 + [1] * 3 + [-1] * 7, [2] * 30 + [1] * 30])
    kept = draw_per_class(labels, 3, 5)
    counts = [[int((kept[row] & (labels[row] == label)).sum()) for label in range(3)] for row in range(2)]
    assert counts == [[5, 3, 0], [0, 5, 5]]


def test_every_voxel_is_drawn_equally_often() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(1, 10, dtype=torch.long)
    times = sum(draw_per_class(labels, 1, 4, generator).float() for _ in range(2000))
    # Binomial: mean 800, standard deviation sqrt(2000 * 0.4 * 0.6) = 22.
    assert (times - 800).abs().max() < 5 * 22


def test_without_any_label_the_texts_alone_are_contrasted() -> None:
    visuals, texts, labels = inputs()
    value = VisualTextualContrast()(visuals[:1] * 3, texts[:1] * 3, torch.full_like(labels, -1))
    expected = 3 * pool_contrast(texts[0].flatten(0, 1), torch.tensor([0, 0, 1, 1, 2, 2]), 0.07)
    torch.testing.assert_close(value, expected)


def test_one_class_alone_has_no_negatives_and_stays_finite() -> None:
    visual = torch.randn(1, 4, 4, 4, requires_grad=True)
    value = VisualTextualContrast(samples_per_class=None)([visual], [torch.randn(1, 2, 4)], torch.zeros(1, 4, 4))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert visual.grad.isfinite().all()


def test_gradients_reach_voxels_and_texts_and_autocast_changes_nothing() -> None:
    visuals, texts, labels = inputs()
    contrast = VisualTextualContrast(samples_per_class=None)
    leaves = [value.requires_grad_() for value in (*visuals, *texts)]
    expected = contrast(visuals, texts, labels)
    with torch.autocast("cpu", torch.bfloat16):
        value = contrast(visuals, texts, labels)
    value.backward()
    torch.testing.assert_close(value, expected)
    assert all(leaf.grad.abs().sum() > 0 for leaf in leaves)


def test_different_numbers_of_scales_are_refused() -> None:
    visuals, texts, labels = inputs()
    with pytest.raises(UsageError, match="2 visual and 2 text scales, 3 sample counts"):
        VisualTextualContrast()(visuals, texts, labels)


@pytest.mark.parametrize(("epoch", "expected"), [(0, 0.521), (100, 0.693), (150, 0.693)])
def test_the_published_threshold_rises_from_three_quarters_of_ln_2(epoch: int, expected: float) -> None:
    assert entropy_threshold(epoch / 100) == pytest.approx(expected, abs=5e-4)


def test_the_threshold_of_sixteen_classes_is_a_part_of_their_largest_entropy() -> None:
    uniform = torch.full((16,), 1 / 16)
    assert entropy_threshold(1, num_classes=16) == pytest.approx(torch.special.entr(uniform).sum().item())


def test_labels_above_the_threshold_are_replaced() -> None:
    labels = torch.tensor([[1, 2, 3]], dtype=torch.uint8)
    assert reliable_labels(labels, torch.tensor([[0.1, 0.5, 0.6]]), 0.5).tolist() == [[1, 2, -1]]
