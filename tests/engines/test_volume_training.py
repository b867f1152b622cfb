"""Volumes from episodes to scores: supervoxels or label maps, training, a file, a protocol."""

import csv
import inspect

import pytest
import torch
from ignite.engine import Events
from marked_cases import write_marked

from medfs.anatomy import custom_label_set
from medfs.engines import EpisodicTrainer
from medfs.engines.episodic_runs import evaluate_fold, folder_protocol, supported_network
from medfs.engines.handlers import CheckpointKeeper
from medfs.fewshot import (
    EpisodeBatches,
    EpisodeDataset,
    EpisodeSampler,
    FewShotSegmentor,
    head_classes,
    load_segmentor,
    prepare_case,
    save_segmentor,
)
from medfs.fewshot.heads import DMAPHead
from medfs.fewshot.modes import AcrossPatients, TwoCrops
from medfs.networks import ResNetEncoder
from medfs.transforms.episodes import EpisodeAugmentation

CPU = torch.device("cpu")
MODES = {
    "two crops of supervoxels": TwoCrops(depth=12, in_plane=(16, 16), min_pixels=6),
    "whole volumes": TwoCrops(min_pixels=6),
    "organs of other patients": AcrossPatients(depth=12, min_pixels=6),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("marked")
    write_marked(path, 6)
    return path


@pytest.fixture(scope="module")
def cases(folder):
    written = write_marked(folder, 6)
    return {
        organs: [
            prepare_case(c, c.label if organs else folder / "supervoxels" / c.image.name, folder / "cache")
            for c in written
        ]
        for organs in (False, True)
    }


def dataset_of(cases, name, **options):
    mode = MODES[name]
    return EpisodeDataset(EpisodeSampler(cases[mode.needs_organs], mode), EpisodeAugmentation(), length=4, **options)


def network(head=None, **options):
    torch.manual_seed(0)
    encoder = ResNetEncoder(
        18, spatial_dims=3, width=4, spacing_mm=(6, 1.5, 1), stem=(2, 1), norm="instance", **options
    )
    head = head or DMAPHead
    reduced = {"channels": 8} if "channels" in inspect.signature(head).parameters else {}
    return FewShotSegmentor(encoder, head(encoder.out_channels, **reduced))


def trainer_of(segmentor, dataset, steps=2, epochs=1):
    optimizer = torch.optim.SGD(segmentor.parameters(), 0.01, momentum=0.9)
    return EpisodicTrainer(
        CPU, epochs, EpisodeBatches(dataset, steps=steps), segmentor, optimizer, epoch_length=steps // epochs
    )


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("positions", [False, True])
def test_volumetric_episodes_train_the_encoder(cases, name, positions):
    segmentor = network(positions=positions)
    before = segmentor.encoder.conv1.weight.clone()
    trainer = trainer_of(segmentor, dataset_of(cases, name, positions=positions))
    trainer.run()
    assert torch.isfinite(trainer.state.output["loss"])
    assert not torch.equal(before, segmentor.encoder.conv1.weight)


@pytest.mark.parametrize("name", head_classes())
def test_every_head_trains_on_volumes(cases, name):
    segmentor = network(head_classes()[name])
    trainer = trainer_of(segmentor, dataset_of(cases, "organs of other patients"), steps=1)
    trainer.run()
    assert torch.isfinite(trainer.state.output["loss"])


def test_positions_say_where_in_the_scan_a_crop_lies(cases):
    dataset = dataset_of(cases, "two crops of supervoxels", positions=True)
    plain = dataset_of(cases, "two crops of supervoxels")
    episode, without = dataset[1], plain[1]
    torch.testing.assert_close(episode.query_image[:, :1], without.query_image)
    draw = dataset.sampler.draw(0, 1)
    slices, scan = episode.query_image[0, 1, :, 0, 0], cases[False][draw.query.case].index.length
    expected = (2 * torch.arange(draw.query.start, draw.query.stop) + 1) / scan - 1
    torch.testing.assert_close(slices[: len(expected)], expected)


def test_a_resumed_training_of_volumes_equals_an_uninterrupted_one(cases, tmp_path):
    dataset = dataset_of(cases, "two crops of supervoxels")
    whole = trainer_of(network(), dataset, steps=4, epochs=2)
    whole.run()
    first = trainer_of(network(), dataset, steps=4, epochs=2)
    CheckpointKeeper(tmp_path).attach(first)
    first.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda: first.terminate())
    first.run()
    second = trainer_of(network(), dataset, steps=4, epochs=2)
    assert CheckpointKeeper(tmp_path).resume(second)
    second.run()
    for name, value in whole.segmentor.state_dict().items():
        assert torch.equal(value, second.segmentor.state_dict()[name]), name


def test_a_file_keeps_the_encoder_and_a_fold_is_scored_under_the_rules_for_volumes(folder, tmp_path):
    save_segmentor(tmp_path / "model.safetensors", network(positions=True))
    segmentor = load_segmentor(tmp_path / "model.safetensors")
    assert segmentor.encoder.spacing_mm == (6, 1.5, 1)
    assert (segmentor.encoder.width, segmentor.encoder.stem, segmentor.encoder.norm) == (4, (2, 1), "instance")
    organs = custom_label_set(["background", "liver", "spleen", "right_kidney"])
    protocol = folder_protocol(folder, organs, fold_length=2)
    scores = evaluate_fold(
        segmentor, protocol, 0, dataset_dir=folder, cache_dir=folder / "cache", output_dir=tmp_path / "out"
    )
    with (tmp_path / "out" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(scores)
    assert {row["rule"] for row in rows} == {"volume", "volume, z-range known"}


def test_a_labelled_scan_is_a_support_as_a_whole(folder):
    def preprocessing(files):
        image = torch.randn(1, 12, 16, 20, generator=torch.Generator().manual_seed(0))
        labels = torch.zeros(1, 12, 16, 20)
        labels[0, 2:6, 2:8, 2:8], labels[0, 6:9, 8:14, 8:14] = 1, 2
        return {"image": image, "label": labels}

    supported = supported_network(network(), preprocessing, "scan", "labels", ["liver", "spleen"])
    assert supported.masks.shape == (2, 12, 16, 20)
    with torch.no_grad():
        assert supported(torch.zeros(1, 1, 12, 16, 20)).shape == (1, 3, 12, 16, 20)
