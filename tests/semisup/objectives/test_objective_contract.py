"""What every objective promises: these tests run over all that medfs.semisup.objectives exports."""

import copy

import numpy as np
import pytest
import torch
from ignite.engine import Events
from objective_cases import OBJECTIVES, SIZE, any_network, batches, build, evaluated, plain_vnet, text_network

from medfs.engines import SemiSupervisedTrainer
from medfs.errors import UsageError
from medfs.semisup import CropStream, MeanTeacher, TwoStreamBatches

KINDS = pytest.mark.parametrize("kind", OBJECTIVES.values(), ids=list(OBJECTIVES))
GRIDS = pytest.mark.parametrize("dims", [2, 3])
NETWORKS = [text_network, plain_vnet, any_network]


class Guarded(dict):
    """A batch whose labels must not be looked at."""

    def __getitem__(self, key):
        assert key != "label", "the label of an unlabelled crop was read"
        return super().__getitem__(key)

    def get(self, key, default=None):
        assert key != "label", "the label of an unlabelled crop was read"
        return super().get(key, default)


class Noise:
    """A transform that makes a crop of noise, with a NaN at the places told."""

    def __init__(self, broken=()):
        self.broken, self.place = broken, 0

    def set_random_state(self, seed):
        self.random = np.random.default_rng(seed)

    def __call__(self, case):
        image = self.random.normal(size=(1, SIZE, SIZE)).astype(np.float32)
        label = np.clip(np.round(image), 0, 2).astype(np.int64)
        if self.place in self.broken:
            image[0, 2, 3] = np.nan
        self.place += 1
        return {"image": image, "label": label}


def trainer_of(kind, steps, broken=(), seed=0, epoch_length=None):
    """A trainer of 2 + 2 crops per step; ``broken`` are places in both streams."""
    network = text_network(seed=seed)
    objective = build(kind, network, seed=seed)
    streams = CropStream([{}], Noise(broken), seed=0), CropStream([{}], Noise(broken), seed=1)
    return SemiSupervisedTrainer(
        torch.device("cpu"),
        steps // (epoch_length or steps),
        TwoStreamBatches(*streams, steps=steps),
        network,
        MeanTeacher(network),
        torch.optim.AdamW(torch.nn.ModuleList([network, objective]).parameters(), lr=0.01),
        objective,
        epoch_length=epoch_length or steps,
    )


def tensors_of(tree):
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        return [tensor for item in tree for tensor in tensors_of(item)]
    return [tree] if isinstance(tree, torch.Tensor) else []


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(tensors_of(first), tensors_of(second), strict=True))


@KINDS
@GRIDS
@pytest.mark.parametrize("unlabelled", [2, 0])
@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_terms_are_finite_scalars_and_reach_student_and_objective_but_not_the_teacher(kind, dims, unlabelled, progress):
    network = text_network(dims)
    objective = build(kind, network, dims)
    terms, teacher = evaluated(objective, network, dims, progress, unlabelled=unlabelled)
    assert terms
    assert all(isinstance(name, str) and term.shape == () and torch.isfinite(term) for name, term in terms.items())
    assert "loss" not in terms, "the name of the sum"
    sum(terms.values()).backward()
    trained = [p for p in [*network.parameters(), *objective.parameters()] if p.grad is not None]
    assert all(torch.isfinite(p.grad).all() for p in trained)
    owned = [[p for p in part.parameters() if p.requires_grad] for part in objective.children()]
    assert all(any(p.grad is not None for p in parameters) for parameters in owned if parameters)
    assert next(network.parameters()).grad.abs().sum() > 0
    assert all(p.grad is None for p in teacher.parameters())


@KINDS
@GRIDS
@pytest.mark.parametrize(("labelled", "unlabelled"), [(1, 1), (1, 3), (3, 1)])
def test_any_number_of_crops_will_do(kind, dims, labelled, unlabelled):
    network = text_network(dims)
    terms, _ = evaluated(build(kind, network, dims), network, dims, labelled=labelled, unlabelled=unlabelled)
    assert all(torch.isfinite(term) for term in terms.values())


@KINDS
@pytest.mark.parametrize("make_network", NETWORKS)
def test_a_network_serves_or_is_refused_in_one_line(kind, make_network):
    network = make_network()
    refused = None
    try:
        terms, _ = evaluated(build(kind, network), network)
    except UsageError as error:
        refused = str(error)
    if refused is None:
        assert all(torch.isfinite(term) for term in terms.values())
    else:
        assert make_network is not text_network
        assert "TextVNet" in refused
        assert "\n" not in refused


@KINDS
def test_one_seed_gives_one_step_and_another_seed_does_not_matter_to_the_names(kind):
    results = []
    for seed in (3, 3, 4):
        network = text_network()
        results.append(evaluated(build(kind, network), network, seed=seed)[0])
    first, second, other = results
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert list(first) == list(second) == list(other)


@KINDS
def test_labels_of_unlabelled_crops_are_never_read(kind):
    labelled, unlabelled = batches()
    network = text_network()
    guarded = Guarded(unlabelled, label=torch.zeros_like(unlabelled["image"]).long())
    build(kind, network)(network, MeanTeacher(network), labelled, guarded, 0.5, 7)


@KINDS
def test_labels_that_are_absent_or_all_one_class_are_finite(kind):
    labelled, unlabelled = batches()
    for value in (0, 2):
        network = text_network()
        label = torch.full_like(labelled["label"], value)
        terms = build(kind, network)(network, MeanTeacher(network), {**labelled, "label": label}, unlabelled, 0.5, 7)
        sum(terms.values()).backward()
        assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@KINDS
def test_computing_the_terms_changes_no_weight_and_no_memory(kind):
    network = text_network()
    objective = build(kind, network)
    teacher = MeanTeacher(network)
    modules = (network, objective, teacher)
    before = copy.deepcopy([module.state_dict() for module in modules])
    objective(network, teacher, *batches(), 0.5, 7)
    assert same(before, [module.state_dict() for module in modules])


@KINDS
def test_bfloat16_gives_float32_terms_near_those_of_float32(kind):
    plain_model, mixed_model = text_network(), text_network()
    plain, _ = evaluated(build(kind, plain_model), plain_model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, _ = evaluated(build(kind, mixed_model), mixed_model)
    for name, term in mixed.items():
        assert term.dtype == torch.float32
        assert term.item() == pytest.approx(plain[name].item(), rel=0.3, abs=0.05), name
    sum(mixed.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in mixed_model.parameters() if p.grad is not None)


@KINDS
def test_a_copy_is_told_everything_by_the_state(kind):
    trainer = trainer_of(kind, 3)
    trainer.run()
    network = text_network()
    other = build(kind, network, seed=9)
    other.load_state_dict(trainer.objective.state_dict())
    network.load_state_dict(trainer.network.state_dict())
    for part in (trainer.network, trainer.objective, network, other):
        part.train()
    first, _ = evaluated(trainer.objective, trainer.network)
    second, _ = evaluated(other, network)
    assert same(first, second)


@KINDS
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(kind):
    whole = trainer_of(kind, 6, epoch_length=3)
    states = []
    whole.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: states.append(copy.deepcopy(engine.state_of_run())))
    whole.run()
    resumed = trainer_of(kind, 6, seed=5, epoch_length=3)
    resumed.resume(states[0])
    resumed.run()
    assert same(resumed.state_of_run(), states[1])
    assert not same(states[0], states[1])


@KINDS
def test_a_crop_with_a_nan_changes_nothing_and_training_goes_on(kind):
    trainer = trainer_of(kind, 5, broken=(5,))  # in step 2
    states = [copy.deepcopy(trainer.state_of_run())]
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: states.append(copy.deepcopy(engine.state_of_run()))
    )
    trainer.run()
    _, _, before, after, _, last = states
    assert all(same(before[part], after[part]) for part in ("network", "objective", "teacher"))
    assert not same(after["network"], last["network"])
    assert all(torch.isfinite(tensor).all() for tensor in tensors_of(last["network"]) + tensors_of(last["objective"]))


@KINDS
def test_parameters_of_the_objective_must_be_in_the_optimizer(kind):
    network = text_network()
    objective = build(kind, network)
    batches = TwoStreamBatches(CropStream([{}], Noise(), seed=0), steps=1)

    def make():
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        device = torch.device("cpu")
        SemiSupervisedTrainer(device, 1, batches, network, MeanTeacher(network), optimizer, objective, epoch_length=1)

    if any(p.requires_grad for p in objective.parameters()):
        with pytest.raises(UsageError, match=f"parameters of network or {kind.__name__} are left out"):
            make()
    else:
        make()
