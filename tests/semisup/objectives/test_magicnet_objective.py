"""MagicNet: its views, its blended labels, and what its released code has wrong."""

import pytest
import torch
from objective_cases import CUBES, SIZE, batches, build, evaluated, plain_vnet, text_network

from medfs.errors import UsageError
from medfs.losses import GACrossEntropyLoss, GADiceLoss
from medfs.networks import CubeLocationClassifier, PlainVNet
from medfs.semisup import MeanTeacher, sigmoid_ramp
from medfs.semisup.cube_views import CubeStages, mixed_view, whole_view
from medfs.semisup.cubes import split_cubes
from medfs.semisup.objectives import GradientAwareObjective, MagicNetObjective

GRID = (CUBES, CUBES)


def cubes_of(network, image, order="spatial"):
    return CubeStages.encoded(network, image, GRID, order)


def with_table(objective, table=(1.0, 0.5, 0.25)):
    """The objective with a known table of class frequencies."""
    objective.frequencies.table.copy_(torch.tensor(table))
    return objective


def test_one_crop_has_nobody_to_exchange_cubes_with():
    network, image = text_network(), torch.rand(1, 1, SIZE, SIZE)
    mixed, whole = mixed_view(network, image, GRID), whole_view(network, image)
    torch.testing.assert_close(mixed.logits, whole.logits)
    torch.testing.assert_close(mixed.stages, whole.stages)


def test_features_of_exchanged_cubes_come_back_to_their_crop():
    network = plain_vnet()
    network.backbone.encode = lambda image: (image, image)  # features that tell where they come from
    network.backbone.decode = lambda stages: stages[0]
    network.predict = lambda stages, decoded: decoded
    image = torch.rand(4, 1, SIZE, SIZE)
    view = mixed_view(network, image, GRID)
    assert torch.equal(view.logits, image)
    assert all(torch.equal(stage, image) for stage in view.stages)


def test_cubes_alone_are_encoded_as_images_of_their_own():
    network, image = plain_vnet(), torch.rand(2, 1, SIZE, SIZE)
    together = cubes_of(network, image)
    for place in range(4):
        alone = network.encode(split_cubes(image, GRID)[1:, place])
        torch.testing.assert_close(together.deepest[1, place], alone[-1][0])
    one = together[1:2]
    torch.testing.assert_close(one.predict(network).logits, cubes_of(network, image[1:]).predict(network).logits)


def test_an_output_without_context_predicts_each_cube_as_it_predicts_the_whole():
    network, image = plain_vnet(), torch.rand(2, 1, SIZE, SIZE)
    cubes = cubes_of(network, image)
    torch.testing.assert_close(cubes.predict(network).logits, cubes.predict_each(network))


def test_fault_6_the_context_of_the_head_is_that_of_the_whole_crop():
    network, image = text_network(), torch.rand(2, 1, SIZE, SIZE)
    seen = []
    network.context.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    objective = with_table(build(MagicNetObjective, network, blend_start=0.0))
    evaluated(objective, network)
    assert set(seen) <= {2, 4}, "a context for each cube"
    cubes = cubes_of(network, image)
    assert not torch.allclose(cubes.predict(network).logits, cubes.predict_each(network))


def test_fault_2_the_published_order_puts_features_in_other_places():
    network, image = plain_vnet(), torch.rand(1, 1, SIZE, SIZE)
    spatial, published = (
        split_cubes(cubes_of(network, image, order).predict(network).logits, GRID)[0]
        for order in ("spatial", "published")
    )
    torch.testing.assert_close(published, spatial[[0, 2, 1, 3]])


def test_the_supervised_terms_are_a_quarter_each():
    network = plain_vnet()
    objective = build(MagicNetObjective, network)
    labelled, _ = batches(labelled=1)
    terms = objective(network, MeanTeacher(network), labelled, None, 0.5, 0)
    logits, label = network(labelled["image"]), labelled["label"][:, 0]
    alone = cubes_of(network, labelled["image"]).predict(network).logits
    expected = {
        "cross_entropy": torch.nn.functional.cross_entropy(logits, label) / 4,
        "dice": objective.dice(logits, label) / 4,
        "mixed_dice": objective.dice(logits, label) / 4,  # one crop
        "recovered_dice": objective.dice(alone, label) / 4,
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
    assert "consistency" not in terms


def test_fault_1_blending_begins_and_training_goes_on():
    network = text_network()
    objective = with_table(build(MagicNetObjective, network, blend_start=0.3))
    before, _ = evaluated(objective, network, progress=0.29)
    assert "blended" not in objective.observed
    after, _ = evaluated(objective, network, progress=0.31)
    assert 0 < objective.observed["blended"] <= 1
    assert before.keys() == after.keys()


def test_nothing_is_blended_before_classes_were_counted():
    network = text_network()
    objective = build(MagicNetObjective, network, blend_start=0.0, frequency_steps=2)
    for step in range(3):
        evaluated(objective, network, progress=0.5, step=step)
        assert ("blended" in objective.observed) == (step == 2)
        objective.after_step(network, step)


def pseudo_labels(objective, teacher, alone):
    torch.manual_seed(0)
    return objective.pseudo_labels(teacher, batches()[1]["image"], alone, 0.5)


def test_fault_3_one_network_makes_the_blended_labels():
    student, teacher = plain_vnet(seed=1), MeanTeacher(plain_vnet(seed=2))
    image = batches()[1]["image"]
    results = {}
    for blending in ("teacher", "mixture"):
        objective = with_table(build(MagicNetObjective, student, blending=blending))
        results[blending] = [
            pseudo_labels(objective, teacher, cubes_of(student, image * factor)).blended for factor in (1, -1)
        ]
    assert torch.equal(*results["teacher"]), "the student has a say"
    assert not torch.equal(*results["mixture"])


def test_frequent_classes_lean_on_the_cubes_and_unseen_ones_stay():
    network = plain_vnet()
    teacher, image = MeanTeacher(network), batches()[1]["image"]
    results = {}
    for table in ((1.0, 1.0, 1.0), (0.0, 1e-9, 0.0), (0.5, 0.25, 0.75)):
        objective = with_table(build(MagicNetObjective, network), table)
        results[table] = pseudo_labels(objective, teacher, cubes_of(network, image))
    cubes, whole = results[1.0, 1.0, 1.0].blended, results[1.0, 1.0, 1.0].whole
    torch.testing.assert_close(results[0.0, 1e-9, 0.0].blended, whole)
    weight = torch.tensor([0.5, 0.25, 0.75])[whole.argmax(1)].unsqueeze(1)
    torch.testing.assert_close(results[0.5, 0.25, 0.75].blended, (1 - weight) * whole + weight * cubes)


def test_the_classes_of_the_blended_labels_are_counted():
    network = plain_vnet()
    objective = build(MagicNetObjective, network, frequency_steps=99)
    evaluated(objective, network)
    objective.after_step(network, 0)
    assert objective.frequencies.counts.sum() == 2 * SIZE**2


@pytest.mark.parametrize(("bias", "expected"), [(False, 8_507_419), (True, 8_511_515)])
def test_fault_14_the_classifier_of_places_has_the_published_size(bias, expected):
    classifier = CubeLocationClassifier(2048, 27, bias=bias)
    assert sum(parameter.numel() for parameter in classifier.parameters()) == expected


def test_the_classifier_of_published_crops_follows_from_their_sizes():
    with torch.device("meta"):
        network = PlainVNet(16, filters=16, levels=5)
        objective = MagicNetObjective(network, (96, 96, 96))
    assert sum(parameter.numel() for parameter in objective.parameters()) == 8_507_419


def test_fault_14_places_are_learned_in_their_order():
    torch.manual_seed(0)
    classifier = CubeLocationClassifier(8, 4, 32)
    features = torch.randn(1, 4, 8, 1) + 5 * torch.eye(4, 8).view(1, 4, 8, 1)
    optimizer = torch.optim.Adam(classifier.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        classifier.loss(features).backward()
        optimizer.step()
    assert classifier(features[0]).argmax(1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_fault_7_one_ramp_refers_to_the_run(progress):
    network = plain_vnet()
    objective = build(MagicNetObjective, network, consistency_weight=0.3, consistency_ramp=0.8)
    at, _ = evaluated(objective, network, progress=progress)
    end, _ = evaluated(objective, network, progress=1.0)
    ratio = at["consistency"].item() / end["consistency"].item()
    assert ratio == pytest.approx(sigmoid_ramp(progress / 0.8), rel=1e-5)


def test_fault_7_the_weight_of_ga_ends_where_its_steps_do():
    objective = GradientAwareObjective()
    weight = objective.consistency_weight * sigmoid_ramp(1 / objective.consistency_ramp)
    assert weight == pytest.approx(0.0056, abs=2e-4)


def test_the_row_ga_of_the_tables_is_magicnet_with_other_losses():
    network = text_network()
    options = {"dice": GADiceLoss(), "cross_entropy": GACrossEntropyLoss()}
    terms, _ = evaluated(build(MagicNetObjective, network, **options), network)
    plain, _ = evaluated(build(MagicNetObjective, network), network)
    assert terms.keys() == plain.keys()
    assert terms["cross_entropy"] != plain["cross_entropy"]


@pytest.mark.parametrize("options", [{"cube_order": "reversed"}, {"blending": "student"}, {"cubes": 3}])
def test_unusable_values_are_one_line(options):
    with pytest.raises(UsageError) as caught:
        MagicNetObjective(plain_vnet(), (SIZE, SIZE), **{"hidden_channels": 4, "cubes": 2} | options)
    assert "\n" not in str(caught.value)


def test_crops_of_another_size_are_refused():
    network = plain_vnet()
    with pytest.raises(UsageError, match="expected patch_size"):
        evaluated(build(MagicNetObjective, network), network, size=2 * SIZE)
