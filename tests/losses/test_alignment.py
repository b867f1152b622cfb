"""Prototype alignment on heads whose answer is known."""

import torch
import torch.nn.functional as F

from medfs.losses import alignment_loss
from medfs.types import Prediction, Prototypes


class BrightnessHead:
    """Foreground is what is as bright as the mean foreground of the support."""

    def extract(self, support, mask):
        weight = mask[:, :, None].float()
        mean = (support[0] * weight).sum(dim=(1, 3, 4)) / weight.sum(dim=(1, 3, 4)).clamp(min=1)
        return (Prototypes(mean[:, None]),)

    def match(self, query, support, mask, prototypes):
        distance = (query[0][:, 0] - prototypes[0].foreground[:, 0, :1, None]).abs()
        return Prediction.of_foreground(torch.exp(-distance))


def squares(shots):
    mask = torch.zeros(2, shots, 6, 6, dtype=torch.bool)
    mask[:, :, 1:4, 2:5] = True
    return mask


def expected_loss(foreground, mask, weights):
    logits = torch.stack([1 - foreground, foreground], dim=1).log()
    return F.nll_loss(logits, mask.long(), weight=torch.tensor(weights))


def test_the_supports_are_segmented_by_what_the_query_was_taken_for():
    mask = squares(shots=3)
    support = (3.0 * mask[:, :, None].float() + 0.25,)
    query = (3.0 * mask[:, 0, None].float(),)
    head = BrightnessHead()
    prediction = Prediction.of_foreground(0.9 * mask[:, 0].float())
    loss = alignment_loss(head, prediction, query, support, mask, (0.1, 1.0))
    # The query's foreground has brightness 3, that of the supports 3.25, their background 0.25.
    foreground = torch.exp(-torch.where(mask, 0.25, 2.75)).flatten(0, 1)
    torch.testing.assert_close(loss, expected_loss(foreground, mask.flatten(0, 1), (0.1, 1.0)))


def test_an_episode_in_which_nothing_was_found_is_left_out():
    mask = squares(shots=1)
    support, query = (mask[:, :, None].float(),), (torch.rand(2, 1, 6, 6),)
    found = mask[:, 0].float() * 0.9
    found[1] = 0
    loss = alignment_loss(BrightnessHead(), Prediction.of_foreground(found), query, support, mask)
    first = alignment_loss(
        BrightnessHead(), Prediction.of_foreground(found[:1]), (query[0][:1],), (support[0][:1],), mask[:1]
    )
    torch.testing.assert_close(loss, first)
    nothing = Prediction.of_foreground(torch.zeros_like(found).requires_grad_())
    assert alignment_loss(BrightnessHead(), nothing, query, support, mask) == 0


def test_padding_of_a_support_counts_nowhere():
    mask = squares(shots=1)
    support, query = (mask[:, :, None].float(),), (mask[:, :1].float(),)
    valid = torch.ones_like(mask)
    valid[..., 5:] = False
    prediction = Prediction.of_foreground(mask[:, 0] * 0.9)
    changed = (support[0].clone(),)
    changed[0][..., 5:] = 50
    one, other = (alignment_loss(BrightnessHead(), prediction, query, s, mask, valid=valid) for s in (support, changed))
    torch.testing.assert_close(one, other)


def test_a_coarser_decision_becomes_the_mask_of_the_query():
    class CoarseHead(BrightnessHead):
        def match(self, query, support, mask, prototypes):
            assert mask.shape[2:] == (3, 3)
            return super().match(tuple(stage[..., ::2, ::2] for stage in query), support, mask, prototypes)

    found = torch.zeros(2, 3, 3, dtype=torch.bool)
    found[:, 1] = True
    coarse = torch.where(found, 4.0, 1.0)[:, None]
    full = torch.ones(2, 1, 6, 6, dtype=torch.bool)
    everything = Prediction.of_foreground(full[:, 0] * 0.9, found=found)
    support = (torch.full((2, 1, 1, 6, 6), 3.5),)
    loss = alignment_loss(CoarseHead(), everything, (coarse,), support, full)
    # the mean brightness under the coarse mask is 4, half a unit away from the supports; under the logits it is not
    torch.testing.assert_close(loss, torch.tensor(0.5))
