"""``medfs convert-checkpoint``: released weights in, a network that computes the published output out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference_vectors import assert_matches, load_case
from safetensors.torch import save_file

from medfs.errors import ExitCode
from medfs.fewshot import load_segmentor
from medfs.fewshot.heads import ALPHead
from medfs.io import Volume, read_labels, write_image, write_labels
from medfs.phantom import phantom_case
from medfs.types import Episode


@pytest.fixture
def several_threads():
    """See tests/fewshot/heads/conftest.py."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(2, before))
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("several_threads")
@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("adnet", "626 tensors of adnet, all names fit; 38 that the method never uses are left out"),
        ("dmap", "632 tensors of dmap, all names fit"),
        ("hcpmnet", "654 tensors of hcpmnet, all names fit"),
        ("qnet", "630 tensors of qnet, all names fit"),
    ],
)
def test_reference_through_the_command(medfs, reference: Path, tmp_path, method, told):
    case = load_case(reference, method)
    released = {"state_dict": {f"module.{name}": value for name, value in case.parameters.items()}, "step": 30000}
    torch.save(released, tmp_path / "30000.pth")
    output = tmp_path / "network.safetensors"
    code, out, _ = medfs("convert-checkpoint", "--from", method, tmp_path / "30000.pth", "-o", output)
    assert code == ExitCode.OK
    assert out == f"{output}: {told}\n"
    episode = Episode(case.tensor("support")[:, None], case.tensor("mask").bool()[:, None], case.tensor("query"))
    with torch.no_grad():
        probability = load_segmentor(output)(episode).probability
    elsewhere = 3e-2 if method == "hcpmnet" else 1e-3
    assert_matches(probability, case.arrays["probability"], elsewhere=elsewhere)


@pytest.mark.usefixtures("several_threads")
@pytest.mark.parametrize(
    ("method", "stored", "output", "told"),
    [
        ("dmtnet", "dmtnet_resnet50", "logit", "422 tensors of dmtnet, all names fit; 8 that the method never uses"),
        ("ifa", "ifa_resnet50_refine", "eval_output_0", "270 tensors of ifa, all names fit"),
        ("patnet", "patnet_resnet50", "logit", "419 tensors of patnet, all names fit; 5 that the method never uses"),
    ],
)
def test_reference_logits_through_the_command(medfs, reference: Path, tmp_path, method, stored, output, told):
    case = load_case(reference, stored)
    torch.save(case.parameters, tmp_path / "released.pth")
    network = tmp_path / "network.safetensors"
    code, out, _ = medfs("convert-checkpoint", "--from", method, tmp_path / "released.pth", "-o", network)
    assert code == ExitCode.OK
    assert told in out
    episode = Episode(case.tensor("support")[:, None], case.tensor("mask").bool()[:, None], case.tensor("query"))
    with torch.no_grad():
        assert_matches(load_segmentor(network)(episode).logits, case.arrays[output], elsewhere=1e-3)


def test_alpnet_goes_through_the_command_with_the_names_of_its_encoder(medfs, reference: Path, tmp_path):
    released = load_case(reference, "adnet").parameters
    del released["t"]
    torch.save({"model": released}, tmp_path / "100000.pth")
    output = tmp_path / "network.safetensors"
    code, out, _ = medfs("convert-checkpoint", "--from", "alpnet", tmp_path / "100000.pth", "-o", output)
    assert code == ExitCode.OK
    assert out == f"{output}: 625 tensors of alpnet, all names fit; 38 that the method never uses are left out\n"
    segmentor = load_segmentor(output)
    assert isinstance(segmentor.head, ALPHead)
    assert segmentor.encoder.dilate == (False, True, True)
    reduction = released["encoder.localconv.weight"]
    assert torch.equal(segmentor.head.reduce.weight, reduction.flatten(2))
    scan, organs = tmp_path / "scan.nii.gz", tmp_path / "organs.nii.gz"
    case = phantom_case(0, spacing_mm=20.0, modality="mr")
    volume = Volume.from_array(case.image, case.affine)
    write_image(scan, case.image, volume)
    write_labels(organs, (case.labels == case.labels.max()).astype(np.uint8), volume)
    given = ["--support", scan, "--support-mask", organs, "--query", scan, "--size", 32, "-o", tmp_path / "out"]
    assert medfs("fewshot", *given, "--checkpoint", output).code == ExitCode.OK
    assert read_labels(tmp_path / "out" / "scan_seg.nii.gz").array.shape == case.labels.shape


class Code:
    """What a hostile checkpoint would run."""

    def __reduce__(self):
        return (print, ("executed",))


def test_what_does_not_fit_is_one_line_and_writes_nothing(medfs, tmp_path):
    def fails(path, said, code=ExitCode.SOME_FAILED, method="dmap", output="out.safetensors"):
        outcome = medfs("convert-checkpoint", "--from", method, path, "-o", tmp_path / output)
        assert outcome.code == code
        assert outcome.out == ""
        (line,) = outcome.err.splitlines()
        assert line.startswith("medfs: ")
        assert said in line
        assert not (tmp_path / "out.safetensors").exists()

    save_file({"encoder.backbone.conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "part.safetensors")
    fails(tmp_path / "part.safetensors", "missing encoder.backbone.bn1.weight, ")
    save_file({"decoder.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    fails(tmp_path / "other.safetensors", "unexpected decoder.weight; expected the 632 names of this network")
    torch.save({"state": Code()}, tmp_path / "code.pth")
    fails(tmp_path / "code.pth", "code.pth: not readable as weights")
    (tmp_path / "text.pth").write_text("no weights")
    fails(tmp_path / "text.pth", "text.pth: not readable as weights (no weights file, or it holds code)")
    torch.save({"step": 3}, tmp_path / "empty.pth")
    fails(tmp_path / "empty.pth", "no weights in it")
    fails(tmp_path / "none.pth", "no such file")
    fails(tmp_path / "part.safetensors", "no published method 'panet'", ExitCode.USAGE, method="panet")
    fails(tmp_path / "part.safetensors", "expected a name ending in .safetensors", ExitCode.USAGE, output="out.pth")
    fails(tmp_path / "part.safetensors", "is the checkpoint itself", ExitCode.USAGE, output="part.safetensors")
