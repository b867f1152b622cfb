"""A finished run is a bundle of its own: it segments, is scored, verified and exported by MONAI's functions."""

import csv
import json
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export, run, verify_net_in_out
from monai.data import load_net_with_metadata

from medfs.anatomy import label_set
from medfs.transforms import SaveLabelsd


def run_here(folder: Path, *configs: str, **values: Any) -> None:
    """`monai.bundle run` on files of a bundle."""
    run(
        config_file=[str(folder / "configs" / name) for name in configs],
        meta_file=str(folder / "configs" / "metadata.json"),
        logging_file=False,
        bundle_root=str(folder),
        **values,
    )


@pytest.fixture(scope="module")
def scans(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One torso, and the same one stored along other axes."""
    folder = tmp_path_factory.mktemp("scans")
    source = nib.load(cohort / "images" / "phantom_000.nii.gz")
    nib.save(source, folder / "plain.nii.gz")
    turned = source.as_reoriented(nib.orientations.axcodes2ornt("PLI", (("L", "R"), ("P", "A"), ("I", "S"))))
    assert turned.shape != source.shape
    nib.save(turned, folder / "turned_0000.nii.gz")
    return folder


@pytest.fixture(scope="module")
def segmented(trained: Path, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segmented")
    run_here(trained, "inference.json", dataset_dir=str(scans), output_dir=str(folder))
    return folder


def test_every_scan_gets_labels_on_its_own_grid(scans: Path, segmented: Path):
    assert sorted(path.name for path in segmented.iterdir()) == ["plain_seg.nii.gz", "turned_seg.nii.gz"]
    for scan, result in (("plain", "plain_seg"), ("turned_0000", "turned_seg")):
        source, labels = nib.load(scans / f"{scan}.nii.gz"), nib.load(segmented / f"{result}.nii.gz")
        assert labels.shape == source.shape
        np.testing.assert_array_equal(labels.affine, source.affine)
        assert labels.get_data_dtype() == np.uint8
        assert len(np.unique(labels.dataobj)) > 1


def test_a_scan_stored_along_other_axes_gets_the_same_labels(segmented: Path):
    plain, turned = (nib.load(segmented / f"{name}_seg.nii.gz") for name in ("plain", "turned"))
    back = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(turned.affine), nib.orientations.io_orientation(plain.affine)
    )
    agreement = np.asarray(plain.dataobj) == np.asarray(turned.as_reoriented(back).dataobj)
    assert agreement.mean() > 0.999  # rounding may decide where two classes tie


def test_published_inference_averages_probabilities_over_thirds_and_sixths(trained: Path, scans: Path):
    parser = ConfigParser()
    parser.read_config([str(trained / "configs" / f"{name}.json") for name in ("inference", "published_inference")])
    parser.update({"bundle_root": str(trained), "device": torch.device("cpu")})
    parser.get_parsed_content("initialize")
    network = parser.get_parsed_content("network_def").eval()
    image = parser.get_parsed_content("preprocessing")({"image": str(scans / "plain.nii.gz")})["image"]
    with torch.no_grad():
        found = parser.get_parsed_content("inferer")(image[None], parser.get_parsed_content("network").eval())[0]
    total, count = torch.zeros(found.shape), torch.zeros(image.shape[1:])
    sizes = zip(image.shape[1:], (5, 5, 2), strict=True)  # a third, a third and a sixth of 16
    for x, y, z in product(*([*range(0, size - 16, step), size - 16] for size, step in sizes)):
        window = (slice(x, x + 16), slice(y, y + 16), slice(z, z + 16))
        with torch.no_grad():
            total[:, *window] += network(image[:, *window][None].as_tensor())[0].softmax(0)
        count[window] += 1
    torch.testing.assert_close(found.as_tensor(), total / count, rtol=0, atol=1e-5)


def test_the_run_is_read_as_monai_label_reads_it(trained: Path, scans: Path, segmented: Path):
    parser = ConfigParser()
    parser.read_config(str(trained / "configs" / "inference.json"))
    parser.update({"bundle_root": str(trained), "device": torch.device("cpu")})
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(trained / "models" / "model.pt", weights_only=True))
    case = parser.get_parsed_content("preprocessing")({"image": str(scans / "plain.nii.gz")})
    with torch.no_grad():
        case["pred"] = parser.get_parsed_content("inferer")(case["image"][None], network.eval())[0]
    for step in parser.get_parsed_content("postprocessing").transforms:
        if not isinstance(step, SaveLabelsd):
            case = step(case)
    np.testing.assert_array_equal(case["pred"][0], np.asarray(nib.load(segmented / "plain_seg.nii.gz").dataobj))


def test_metadata_of_a_run_name_its_classes_and_patch(trained: Path):
    formats = json.loads((trained / "configs" / "metadata.json").read_text())["network_data_format"]
    names = label_set("amos").names
    assert formats["outputs"]["pred"]["channel_def"] == {str(value): name for value, name in enumerate(names)}
    assert formats["inputs"]["image"]["spatial_shape"] == [16, 16, 16]


def test_evaluation_scores_the_test_case_of_the_split(trained: Path, cohort: Path, tmp_path: Path):
    run_here(trained, "inference.json", "evaluate.json", output_dir=str(tmp_path))
    (case,) = [item["case"] for item in json.loads((trained / "split.json").read_text())["test"]]
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    names = label_set("amos").names
    assert [(row["case"], row["organ"]) for row in rows] == [(case, name) for name in names[1:]]
    prediction = np.asarray(nib.load(tmp_path / f"{case}_seg.nii.gz").dataobj)
    truth = np.asarray(nib.load(cohort / "labels" / f"{case}.nii.gz").dataobj)
    for value, row in enumerate(rows, start=1):
        overlap = np.sum((prediction == value) & (truth == value))
        sizes = np.sum(prediction == value) + np.sum(truth == value)
        assert sizes > 0
        assert float(row["dice"]) == pytest.approx(2 * overlap / sizes)
    assert (tmp_path / "summary.json").exists()
    assert (tmp_path / "summary.md").exists()


def test_the_network_of_a_run_does_what_its_metadata_say(trained: Path):
    configs = trained / "configs"
    files = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    verify_net_in_out(net_id="network_def", device="cpu", **files)
    with pytest.raises(ValueError, match="output channel number `16` doesn't match: `15`"):
        verify_net_in_out(
            net_id="network_def",
            device="cpu",
            **files,
            **{"_meta_::network_data_format::outputs::pred::num_channels": 15},
        )


def test_the_exported_network_equals_the_eager_one_on_other_sizes(trained: Path, tmp_path: Path):
    configs = trained / "configs"
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(trained / "models" / "model.pt"),
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
        use_trace=True,
    )
    exported, metadata, extra = load_net_with_metadata(str(tmp_path / "model.ts"), more_extra_files=["inference.json"])
    parser = ConfigParser()
    parser.read_config(str(configs / "inference.json"))
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(trained / "models" / "model.pt", weights_only=True))
    image = torch.rand(2, 1, 16, 24, 20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(exported(image), network.eval()(image), rtol=0, atol=1e-5)
    assert metadata["network_data_format"]["outputs"]["pred"]["num_channels"] == 16
    assert json.loads(extra["inference.json"])["filters"] == 8
