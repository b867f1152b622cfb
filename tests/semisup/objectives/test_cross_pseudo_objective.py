"""Two students that label for each other."""

import pytest
import torch
from objective_cases import any_network, batches, evaluated, plain_vnet, text_network
from torch import nn

from medfs.losses import GACrossEntropyLoss, GADiceLoss
from medfs.semisup import MeanTeacher, sigmoid_ramp
from medfs.semisup.objectives import CrossPseudoObjective
from medfs.semisup.objectives.cross_pseudo import second_student

NAMES = ("dice", "cross_entropy", "consistency")


def terms_of(objective, student, progress=0.5):
    return objective(student, MeanTeacher(student), *batches(), progress, 7)


def test_exchanging_the_students_exchanges_their_terms():
    student = text_network()
    objective = CrossPseudoObjective(student)
    one_way = terms_of(objective, student)
    other_student, objective.partner = objective.partner, student
    other_way = terms_of(objective, other_student)
    for name in NAMES:
        torch.testing.assert_close(one_way[name], other_way[f"partner_{name}"])
        torch.testing.assert_close(one_way[f"partner_{name}"], other_way[name])
    assert any(one_way[name] != one_way[f"partner_{name}"] for name in NAMES)


def test_terms_are_those_of_the_formula():
    student, (labelled, unlabelled) = plain_vnet(), batches()
    objective = CrossPseudoObjective(student, consistency_weight=0.3, consistency_ramp=0.8)
    terms = terms_of(objective, student, 0.4)
    image, label = torch.cat([labelled["image"], unlabelled["image"]]), labelled["label"]
    first, second = student(image), objective.partner(image)
    torch.testing.assert_close(terms["dice"], GADiceLoss()(first[:2], label))
    torch.testing.assert_close(terms["partner_cross_entropy"], GACrossEntropyLoss(0.1, 0.5)(second[:2], label))
    # all voxels are kept: classes share the cross-entropy by the square root of their size
    log, pseudo = first.log_softmax(1), second.argmax(1)
    losses = -log.gather(1, pseudo.unsqueeze(1))[:, 0]
    expected = sum(losses[pseudo == c].sum() / ((pseudo == c).sum() * pseudo.numel()) ** 0.5 for c in pseudo.unique())
    torch.testing.assert_close(terms["consistency"], 0.3 * sigmoid_ramp(0.5) * expected)


def test_labels_pass_no_gradient_to_the_student_that_gave_them():
    student = plain_vnet()
    objective = CrossPseudoObjective(student)
    terms_of(objective, student)["consistency"].backward()
    assert next(student.parameters()).grad.abs().sum() > 0
    assert all(p.grad is None for p in objective.partner.parameters())


def test_losses_may_be_those_of_the_first_paper():
    student, (labelled, _) = plain_vnet(), batches()
    plain = nn.CrossEntropyLoss()
    objective = CrossPseudoObjective(student, cross_entropy=plain, pseudo=plain)
    terms, _ = evaluated(objective, student)
    expected = plain(student(labelled["image"]), labelled["label"][:, 0])
    torch.testing.assert_close(terms["cross_entropy"], expected)


@pytest.mark.parametrize("make_network", [text_network, plain_vnet, any_network])
def test_the_partner_starts_elsewhere_and_the_student_stays(make_network):
    network, untouched = make_network(3), make_network(3)
    partner = second_student(network)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), untouched.parameters(), strict=True))
    wide = [m for m in partner.modules() if isinstance(m, nn.Conv3d) and m.kernel_size == (3, 3, 3)]
    drawn = torch.cat([m.weight.flatten() / (2 / (27 * (m.in_channels + m.out_channels))) ** 0.5 for m in wide])
    assert drawn.std().item() == pytest.approx(1.0, rel=0.1)
    pairs = zip(network.modules(), partner.modules(), strict=True)
    assert all(not torch.equal(a.weight, b.weight) for a, b in pairs if b in wide)


def test_the_partner_keeps_the_start_of_a_text_conditioned_head():
    network = text_network()
    partner = second_student(network)
    for name, value in network.head.state_dict().items():
        assert torch.equal(partner.head.state_dict()[name], value)


def test_students_that_agree_everywhere_are_seen_to():
    student = plain_vnet()
    objective = CrossPseudoObjective(student)
    objective.partner.load_state_dict(student.state_dict())
    terms_of(objective, student)
    assert objective.observed["agreement"] == 1
