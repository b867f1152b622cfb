"""The losses and their gradients are those of the published implementation."""

from pathlib import Path

import pytest
import torch
from reference_vectors import assert_gradient_matches, assert_loss_matches, load_case

from medfs.losses import GACrossEntropyLoss, GADiceLoss, VisualTextualContrast, reliable_labels


@pytest.mark.parametrize(("name", "loss"), [("ga_dice", GADiceLoss()), ("ga_ce", GACrossEntropyLoss())])
def test_reference_tak_losses_and_gradients(reference: Path, name: str, loss: torch.nn.Module) -> None:
    case = load_case(reference, "tak_losses")
    logits = case.tensor("logit").requires_grad_()
    value = loss(logits, case.tensor("label"))
    value.backward()
    assert_loss_matches(value, case.arrays[name])
    assert_gradient_matches(logits.grad, case.arrays[f"{name}_grad"])


def test_reference_tak_losses_contrast(reference: Path) -> None:
    case = load_case(reference, "tak_losses")
    visuals = [case.tensor(f"feature_{index}") for index in range(3)]
    texts = [case.tensor(f"text_{index}").view(2, 16, -1).transpose(0, 1) for index in range(3)]
    labels = case.tensor("contrast_label")
    doubtful = reliable_labels(labels[6:], case.tensor("contrast_entropy"), float(case.arrays["contrast_threshold"]))
    labels = torch.cat([labels[:6].long(), doubtful])
    contrast = VisualTextualContrast(temperature=0.07, samples_per_class=None)
    assert_loss_matches(contrast(visuals, texts, labels), case.arrays["contrast"])
