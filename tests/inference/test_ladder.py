"""When memory does not suffice: each rung gives the same labels, and the report says which one it was."""

import json

import numpy as np
import pytest
import torch
from folder_runs import Threshold, make_scans, segment_folder
from monai.inferers import SlidingWindowInferer, sliding_window_inference
from tiny_run import make_run

from medfs.errors import InputError
from medfs.inference import FolderRun, Segmenter
from medfs.inference.ladder import Ladder, is_out_of_memory
from medfs.inference.window_blocks import window_blocks
from medfs.io import Volume, find_images
from medfs.phantom import phantom_case


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    return Segmenter(make_run(tmp_path_factory.mktemp("run")), device="cpu")


@pytest.fixture(scope="module")
def torso():
    case = phantom_case(0, spacing_mm=9.0)
    return Volume.from_array(case.image.astype(np.float32), case.affine)


def exhausted():
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: 9 bytes")


def without_memory(segmenter, monkeypatch, rungs):
    """Let the first rungs run out of memory in the middle of their work."""

    def failing(attempt):
        def wrapped(*arguments):
            attempt(*arguments)
            exhausted()

        return wrapped

    names = [
        (name, failing(rung) if place < rungs else rung) for place, (name, rung) in enumerate(segmenter.ladder.rungs)
    ]
    monkeypatch.setattr(segmenter.ladder, "rungs", names)


@pytest.mark.parametrize(("failing", "name"), [(0, ""), (1, "one window at a time"), (2, "layer by layer")])
def test_every_rung_gives_the_same_labels(segmenter, torso, monkeypatch, failing, name):
    expected = segmenter(torso)
    assert len(np.unique(expected)) > 1
    without_memory(segmenter, monkeypatch, failing)
    labels = segmenter(torso)
    assert segmenter.ladder.rung == name
    assert labels.dtype == expected.dtype
    np.testing.assert_array_equal(labels, expected)


def test_when_no_rung_suffices_the_scan_is_refused_with_the_remedy(segmenter, torso, monkeypatch):
    without_memory(segmenter, monkeypatch, 3)
    with pytest.raises(InputError, match=r"not enough memory.*one window at a time, layer by layer.*crop"):
        segmenter(torso)


def test_a_batch_of_windows_that_is_too_large_becomes_single_windows(segmenter, torso, monkeypatch):
    expected, forward = segmenter(torso), segmenter.network.forward

    def limited(windows):
        return forward(windows) if len(windows) == 1 else exhausted()

    monkeypatch.setattr(segmenter.network, "forward", limited)
    np.testing.assert_array_equal(segmenter(torso), expected)
    assert segmenter.ladder.rung == "one window at a time"


def test_other_errors_are_not_taken_for_a_want_of_memory():
    def broken():
        raise ValueError("odd")

    ladder = Ladder([("", broken), ("second", lambda: 1)])
    with pytest.raises(ValueError, match="odd"):
        ladder()


def test_each_call_starts_from_the_first_rung():
    tight = iter([True, False])
    ladder = Ladder([("", lambda: exhausted() if next(tight) else 1), ("second", lambda: 2)])
    assert (ladder(), ladder.rung) == (2, "second")
    assert (ladder(), ladder.rung) == (1, "")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_want_of_memory_is_recognised(error, expected):
    wrapped = RuntimeError("applying transform")
    wrapped.__cause__ = error
    assert is_out_of_memory(error) is expected
    assert is_out_of_memory(wrapped) is expected


@pytest.mark.parametrize("shape", [(20, 17, 23), (9, 30, 8), (8, 8, 8), (3, 5, 40)])
@pytest.mark.parametrize("overlap", [0.5, 0.25, 0.0])
def test_windows_layer_by_layer_are_those_of_monai(shape, overlap):
    torch.manual_seed(0)
    image, network = torch.randn(1, 1, *shape), torch.nn.Conv3d(1, 3, 3, padding=1)
    inferer = SlidingWindowInferer(roi_size=(8, 10, 8), sw_batch_size=4, overlap=overlap, mode="gaussian")
    with torch.inference_mode():
        expected = sliding_window_inference(image, (8, 10, 8), 4, network, overlap=overlap, mode="gaussian")
        blocks = list(window_blocks(image, network, inferer, torch.device("cpu")))
    assert [z for block, _ in blocks for z in block] == list(range(shape[2]))
    found = torch.cat([scores for _, scores in blocks], dim=2)[0].permute(0, 3, 2, 1)
    torch.testing.assert_close(found, expected[0], rtol=1e-5, atol=1e-6)


def test_the_rung_stands_in_record_and_report(tmp_path):
    scans, records = make_scans(tmp_path / "scans", 2), []
    rungs = iter(["", "layer by layer"])
    run = FolderRun(Threshold(), tmp_path / "out", rung=lambda: next(rungs))
    run.run(find_images([scans]), records.append)
    assert [record.rung for record in records] == ["", "layer by layer"]
    rows = json.loads((tmp_path / "out" / "report.json").read_text())["cases"]
    assert [row.get("rung", "") for row in rows] == ["", "layer by layer"]
    assert "layer by layer" in (tmp_path / "out" / "report.csv").read_text()


def test_a_case_for_which_memory_never_suffices_fails_alone(tmp_path):
    class Tight(Threshold):
        def __call__(self, volume):
            if volume.path.name == "c01.nii.gz":
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().__call__(volume)

    scans = make_scans(tmp_path / "scans", 3)
    assert segment_folder(scans, tmp_path / "out", segment=Tight()) == 1
    rows = json.loads((tmp_path / "out" / "report.json").read_text())["cases"]
    assert [row["status"] for row in rows] == ["done", "failed", "done"]
