"""The episodic trainer: it learns, counts its steps, and resumes where it was."""

from itertools import islice

import pytest
import torch
from ignite.engine import Events
from marked_cases import MODES, write_marked
from torch import nn

from medfs.engines import EpisodicTrainer
from medfs.engines.handlers import CheckpointKeeper
from medfs.errors import DivergedError, UsageError
from medfs.fewshot import (
    EpisodeBatches,
    EpisodeDataset,
    EpisodeSampler,
    FewShotSegmentor,
    head_classes,
    prepare_case,
)
from medfs.fewshot.batches import shrink_episode
from medfs.fewshot.heads import DMAPHead
from medfs.networks import ResNetEncoder
from medfs.transforms.episodes import EpisodeAugmentation

CPU = torch.device("cpu")


class SmallEncoder(nn.Module):
    """Two stages on a half and a quarter of the image, with batch normalisation."""

    spatial_dims = 2
    out_channels = (6, 8)

    def __init__(self):
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(1, 6, 3, 2, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.coarse = nn.Conv2d(6, 8, 3, 2, padding=1)

    def forward(self, image):
        fine = self.fine(image)
        return fine, self.coarse(fine)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("marked")
    written = write_marked(folder, 3)
    return [prepare_case(case, folder / "supervoxels" / case.image.name, folder / "cache") for case in written]


@pytest.fixture(scope="module")
def dataset(cases):
    return EpisodeDataset(EpisodeSampler(cases, MODES["slice"]), EpisodeAugmentation(), length=4)


def trainer_of(dataset, steps=8, workers=0, epochs=2, head=None, lr=0.01, **options):
    torch.manual_seed(0)
    network = FewShotSegmentor(SmallEncoder(), head or DMAPHead((6, 8), channels=5, filter="learned", pool="feature"))
    optimizer = torch.optim.SGD(network.parameters(), lr, momentum=0.9, weight_decay=5e-4)
    batches = EpisodeBatches(dataset, steps=steps, batch_size=2, workers=workers)
    return EpisodicTrainer(CPU, epochs, batches, network, optimizer, epoch_length=steps // epochs, **options)


def tensors(tree):
    if isinstance(tree, dict):
        tree = list(tree.values())
    return [t for item in tree for t in tensors(item)] if isinstance(tree, list | tuple) else [tree]


def same(first, second):
    pairs = list(zip(tensors(first), tensors(second), strict=True))
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


@pytest.fixture(scope="module")
def uninterrupted(dataset):
    trainer = trainer_of(dataset)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.run()
    assert not same(before, trainer.network.state_dict())
    return trainer.state_of_run()


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.subprocess)])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(dataset, uninterrupted, workers, tmp_path):
    first = trainer_of(dataset, workers=workers)
    CheckpointKeeper(tmp_path).attach(first)
    first.add_event_handler(Events.ITERATION_COMPLETED(once=6), lambda: first.terminate())
    first.run()
    torch.rand(3)  # what else the process draws is of no consequence
    second = trainer_of(dataset, workers=workers)
    keeper = CheckpointKeeper(tmp_path)
    assert keeper.resume(second)
    assert second.state.iteration == 4
    second.run()
    assert same(second.state_of_run(), uninterrupted)


def test_the_loss_falls(cases):
    plain = EpisodeDataset(EpisodeSampler(cases, MODES["slice"]), None, length=60)
    trainer, losses = trainer_of(plain, steps=60, epochs=1), []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: losses.append(float(e.state.output["loss"])))
    trainer.run()
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


@pytest.mark.parametrize("name", head_classes())
def test_every_head_trains_a_step(dataset, name):
    torch.manual_seed(0)
    encoder = ResNetEncoder(18)
    network = FewShotSegmentor(encoder, head_classes()[name](encoder.out_channels))
    optimizer = torch.optim.SGD(network.parameters(), 1e-3)
    trainer = EpisodicTrainer(CPU, 1, EpisodeBatches(dataset, steps=1), network, optimizer, epoch_length=1)
    before = encoder.conv1.weight.clone()
    trainer.run()
    assert torch.isfinite(trainer.state.output["loss"])
    assert not torch.equal(before, encoder.conv1.weight)


@pytest.mark.parametrize(
    ("decay", "decay_steps", "last_step", "factor"),
    [(0.98, 3000, 32999, 0.817), (0.98, 10000, 39999, 0.941), (0.98, 1000, 29999, 0.557), (0.95, 1000, 49999, 0.081)],
    ids=["DMAP", "HCPMNet", "Q-Net", "ADNet"],
)
def test_the_rate_ends_where_the_published_schedules_end(dataset, decay, decay_steps, last_step, factor):
    trainer = trainer_of(dataset, decay=decay, decay_steps=decay_steps)
    assert trainer.rate(0) == trainer.rate(decay_steps - 1) == 1
    assert trainer.rate(decay_steps) == decay
    assert trainer.rate(last_step) == pytest.approx(factor, abs=5e-4)


def test_losses_that_are_not_finite_end_training(dataset):
    class Broken(DMAPHead):
        def loss(self, prediction, target):
            return super().loss(prediction, target) * torch.nan

    trainer = trainer_of(dataset, head=Broken((6, 8), channels=5), patience=3)
    before = trainer.network.encoder.coarse.weight.clone()
    with pytest.raises(DivergedError, match="step 3: loss or gradient not finite in 3 steps running"):
        trainer.run()
    assert torch.equal(before, trainer.network.encoder.coarse.weight)


def test_ranks_see_different_episodes_and_together_all(dataset):
    queries = [e.query_image for e in EpisodeBatches(dataset, steps=4)]
    ranks = [[e.query_image for e in EpisodeBatches(dataset, steps=2, rank=r, ranks=2)] for r in (0, 1)]
    assert same([ranks[0][0], ranks[1][0], ranks[0][1], ranks[1][1]], queries)


def test_batches_begin_where_they_are_told(dataset):
    whole, rest = EpisodeBatches(dataset, steps=6), EpisodeBatches(dataset, steps=6)
    rest.start = 4
    assert len(rest) == 2
    for late, early in zip(rest, islice(whole, 4, None), strict=True):
        assert torch.equal(late.query_image, early.query_image)


def test_shrunk_slices_keep_their_objects(cases):
    dataset = EpisodeDataset(EpisodeSampler(cases, MODES["slice"]), None)
    for episode in EpisodeBatches(dataset, steps=8, size=16):
        assert max(episode.query_image.shape[2:]) == 16
        assert episode.query_mask.any()
        assert episode.support_mask.any()
    episode = dataset[0]
    assert shrink_episode(episode, 64) is episode


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 1, "batch_size": 0}, {"steps": 1, "size": 8}])
def test_impossible_batches_are_refused(dataset, options):
    with pytest.raises(UsageError, match="expected at least 1 step"):
        EpisodeBatches(dataset, **options)
