"""``medfs fewshot --text``: a sentence about an organ reaches a network that reads texts."""

import numpy as np
import pytest
import torch

from medfs.anatomy import label_set
from medfs.errors import ExitCode
from medfs.fewshot import FewShotSegmentor, save_segmentor
from medfs.fewshot.heads import ADNetHead
from medfs.fewshot.plugins import CDTGPlugin
from medfs.io import Volume, read_labels, write_image, write_labels
from medfs.networks import ResNetEncoder
from medfs.phantom import phantom_case
from medfs.text import TextPrior

LIVER = label_set("amos").names.index("liver")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A labelled phantom and a query; networks for slices and for volumes with the plug-in, and one without."""
    folder = tmp_path_factory.mktemp("told")
    for seed, name in enumerate(("support", "query")):
        case = phantom_case(seed, spacing_mm=14.0, modality="mr")
        write_image(folder / f"{name}.nii.gz", case.image, Volume.from_array(case.image, case.affine))
        if name == "support":
            labels = (case.labels == LIVER).astype(np.uint8)
            write_labels(folder / "labels.nii.gz", labels, Volume.from_array(labels, case.affine))
    for dims in (2, 3):
        torch.manual_seed(0)
        encoder = ResNetEncoder(18, spatial_dims=dims)
        head = ADNetHead(encoder.out_channels, initial_threshold=-14.0)
        plugin = CDTGPlugin(head.prototype_channels, 384, text_weight=0.9)
        told = FewShotSegmentor(encoder, head, [plugin], TextPrior.described("phantom"))
        save_segmentor(folder / f"told_{dims}.safetensors", told)
    save_segmentor(folder / "plain.safetensors", FewShotSegmentor(encoder, head))
    return folder


@pytest.fixture
def fewshot(medfs, folder, tmp_path):
    def run(checkpoint, *arguments, output="out"):
        return medfs(
            "fewshot", "--support", folder / "support.nii.gz", "--support-mask", folder / "labels.nii.gz",
            "--query", folder / "query.nii.gz", "-o", tmp_path / output, "--size", 32, "--no-body",
            "--checkpoint", folder / f"{checkpoint}.safetensors", *arguments,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("dims", [2, 3])
def test_what_is_said_of_the_organ_changes_the_result(fewshot, tmp_path, dims):
    found = {}
    for number, told in enumerate(("liver", "organ_1=coco/zebra", "phantom/red_plain_ball")):
        outcome = fewshot(f"told_{dims}", "--text", told, output=str(number))
        assert outcome.code == ExitCode.OK, outcome.err
        found[told] = read_labels(tmp_path / str(number) / "query_seg.nii.gz").array
    first, *others = found.values()
    assert first.any()
    assert any((first != other).any() for other in others)


def test_a_named_organ_needs_no_text_and_another_text_is_no_resumed_run(fewshot):
    assert "done" in fewshot("told_2", "--labels", "liver").err
    assert "done" in fewshot("told_2", "--labels", "liver", "--text", "coco/zebra").err
    assert "skipped" in fewshot("told_2", "--labels", "liver", "--text", "coco/zebra").err


@pytest.mark.parametrize(
    ("checkpoint", "arguments", "said"),
    [
        ("plain", ["--text", "liver"], "--text: the network reads no texts; expected a --checkpoint"),
        ("told_2", [], "organ_1: the network reads texts and has none of it; name the organs with --labels"),
        ("told_2", ["--text", "a dark even wedge"], "say where it is with --text-encoder, or encode it elsewhere"),
    ],
)
def test_what_cannot_be_told_ends_in_one_line(fewshot, tmp_path, monkeypatch, checkpoint, arguments, said):
    monkeypatch.chdir(tmp_path)
    outcome = fewshot(checkpoint, *arguments)
    assert outcome.code == ExitCode.USAGE
    assert said in outcome.err.replace("\n", " ")
    assert "Traceback" not in outcome.err
