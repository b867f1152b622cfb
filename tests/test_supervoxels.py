import json
import math
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label

from medfs import _supervoxel
from medfs.errors import InputError, UsageError
from medfs.supervoxels import felzenszwalb_3d

CUBIC = (1.0, 1.0, 1.0)
SPACINGS = (CUBIC, (1.25, 1.25, 7.7), (0.8, 0.8, 5.0), (1.5, 1.5, 0.7))
DIRECTIONS = (
    *((0, 1, 0), (0, 1, 1), (0, 0, 1), (0, 1, -1)),
    *((1, 1, 0), (1, 1, 1), (1, 0, 1), (1, -1, 0), (1, -1, -1), (1, 0, -1), (1, 1, -1), (1, -1, 1), (1, 0, 0)),
)


def published_labels(volume, scale, sigma_mm, min_size, spacing_mm):
    """The definition of the published supervoxels, step by step."""
    a = volume.T.astype(np.float64)
    a = 255 * (a - a.min()) / (a.max() - a.min())
    a = gaussian_filter(a, sigma_mm / np.array(spacing_mm[::-1])) if sigma_mm else a
    s = spacing_mm[2] / spacing_mm[0]
    weight = {1: s**2, 2: (math.sqrt(1 + s**2) / math.sqrt(2)) ** 2, 3: (math.sqrt(2 + s**2) / math.sqrt(3)) ** 2}
    number = np.arange(a.size).reshape(a.shape)
    edges = []
    for d in DIRECTIONS:
        low = tuple(slice(max(0, -step), size - max(0, step)) for step, size in zip(d, a.shape, strict=True))
        high = tuple(slice(max(0, step), size - max(0, -step)) for step, size in zip(d, a.shape, strict=True))
        w = weight[np.abs(d).sum()] if d[0] else 1.0
        cost = np.sqrt(w * ((a[low] - a[high]) * (a[low] - a[high])))
        edges += zip(cost.ravel().tolist(), number[low].ravel().tolist(), number[high].ravel().tolist(), strict=True)
    edges.sort(key=lambda edge: edge[0])
    members = [[voxel] for voxel in range(a.size)]
    internal, k = [0.0] * a.size, scale / 255
    for first in (True, False):
        for cost, p, q in edges:
            u, v = members[p], members[q]
            limits = [np.float32(internal[m[0]] + k / len(m)) for m in (u, v)] if first else ()
            if u is v or (cost >= min(limits) if first else min(len(u), len(v)) >= min_size):
                continue
            u += v
            internal[u[0]] = cost
            for voxel in v:
                members[voxel] = u
    order = {}
    return np.array([order.setdefault(id(m), len(order)) for m in members]).reshape(a.shape).T


def random_volume(rng):
    shape = rng.integers(1, 10, 3)
    kind = rng.integers(4)
    volume = rng.uniform(-300, 500, shape)
    volume = (volume, volume.round(), volume.clip(-100, 200).round(-1), (volume / 100).round())[kind]
    volume.flat[0], volume.flat[-1] = -301, 500  # the published rescaling divides by the range
    return volume if volume.size > 1 else np.array([-301.0, 500.0]).reshape(2, 1, 1)


@pytest.mark.parametrize("seed", range(20))
def test_small_volumes_follow_the_published_definition(seed):
    rng = np.random.default_rng(seed)
    for _ in range(15):
        volume = random_volume(rng)
        parameters = {
            "scale": 10 ** rng.uniform(0, 6),
            "sigma_mm": rng.choice([0.0, 0.0, 0.8]),
            "min_size": int(5000 ** rng.uniform(0, 1)),
            "spacing_mm": SPACINGS[rng.integers(len(SPACINGS))],
        }
        labels = felzenszwalb_3d(volume, **parameters)
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, published_labels(volume, **parameters), str(parameters))


@pytest.mark.parametrize("index", range(5))
def test_reference_supervoxels(reference, real_data, index):
    cases = json.loads((reference / "supervoxels" / "index.json").read_text())
    for case in cases[index::5]:
        image = nib.load(real_data / case["image"])
        labels = felzenszwalb_3d(
            np.asarray(image.dataobj),
            scale=case["scale"],
            sigma_mm=case["sigma"],
            min_size=case["min_size"],
            spacing_mm=[float(size) for size in image.header.get_zooms()],
        )
        expected = np.asarray(nib.load(reference / "supervoxels" / case["partition"]).dataobj)
        assert np.array_equal(labels, expected), case["partition"]


@pytest.fixture
def volume():
    return np.random.default_rng(7).integers(0, 100, (17, 14, 9)).astype(np.int16)


def cut(volume, **changes):
    return felzenszwalb_3d(volume, **({"spacing_mm": (1.25, 1.25, 5.0), "scale": 5000.0, "min_size": 12} | changes))


@pytest.mark.parametrize("dtype", ["u1", "i2", ">i2", "u4", "i8", "f2", "f4", ">f4", "f8", "longdouble"])
def test_the_data_type_makes_no_difference(volume, dtype):
    np.testing.assert_array_equal(cut(volume.astype(dtype)), cut(volume))


def test_the_memory_layout_makes_no_difference(volume):
    padded = np.full((34, 20, 9), 55, np.int16)
    padded[::2, 3:17, ::-1] = volume
    for view in (np.ascontiguousarray(volume), np.asfortranarray(volume), padded[::2, 3:17, ::-1], volume.tolist()):
        np.testing.assert_array_equal(cut(view), cut(volume))


def test_the_volume_is_left_as_it_is(volume):
    for image in (volume.astype(np.float64), np.asfortranarray(volume, np.float64)):
        image.flags.writeable = False
        before = image.copy()
        cut(image, sigma_mm=1.0)
        np.testing.assert_array_equal(image, before)


def test_a_volume_of_0_to_255_is_not_rescaled_again(volume):
    image = 255 * (volume - volume.min()) / (volume.max() - volume.min())
    np.testing.assert_array_equal(cut(image), cut(volume))


def test_every_segment_is_connected_and_large_enough(volume):
    labels = cut(volume, min_size=40)
    assert labels.max() > 1
    for value in range(labels.max() + 1):
        assert (labels == value).sum() >= 40
        assert label(labels == value, np.ones((3, 3, 3)))[1] == 1


def test_thick_slices_merge_less_readily():
    steps = np.array([[[0, 10, 255]]])  # along z
    assert cut(steps, spacing_mm=CUBIC, scale=20 * 255.0, min_size=1).ravel().tolist() == [0, 0, 1]
    assert cut(steps, spacing_mm=(1, 1, 9), scale=20 * 255.0, min_size=1).ravel().tolist() == [0, 1, 2]


def test_a_full_mask_changes_only_the_first_label(volume):
    np.testing.assert_array_equal(cut(volume, mask=np.ones(volume.shape, bool)), cut(volume) + 1)


def test_voxels_outside_the_mask_have_no_influence(volume):
    mask = np.random.default_rng(1).random(volume.shape) < 0.7
    labels = cut(volume, mask=mask, sigma_mm=0.7)
    assert set(np.unique(labels)) == set(range(labels.max() + 1))
    assert labels.max() > 1
    np.testing.assert_array_equal(labels == 0, ~mask)
    for outside in (np.nan, np.inf, -1e300):
        np.testing.assert_array_equal(cut(np.where(mask, volume, outside), mask=mask, sigma_mm=0.7), labels)


def test_a_mask_separates_before_the_graph_is_built():
    mask = np.array([1, 1, 0, 1, 1]).reshape(5, 1, 1)
    assert cut(np.zeros((5, 1, 1)), mask=mask, min_size=100).ravel().tolist() == [1, 1, 0, 2, 2]


def test_an_empty_mask_gives_no_segment(volume):
    assert not cut(volume, mask=np.zeros(volume.shape)).any()


@pytest.mark.parametrize("shape", [(0, 0, 0), (4, 0, 3), (0, 2, 2)])
def test_an_empty_volume_gives_empty_labels(shape):
    assert cut(np.zeros(shape)).shape == shape
    assert cut(np.zeros(shape), mask=np.zeros(shape)).shape == shape


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 5), (1, 6, 1), (2000, 1, 1), (3, 4, 5)])
def test_a_constant_volume_is_one_segment(shape):
    assert not cut(np.full(shape, -7.5)).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e308])
def test_intensities_that_are_not_finite_are_refused(volume, value):
    image = volume.astype(np.float64)
    image[3, 4, 5] = value
    with pytest.raises(InputError, match="finite"):
        cut(image)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spacing_mm": (1, 1, 0)}, "spacing"),
        ({"spacing_mm": (1, 1, math.nan)}, "spacing"),
        ({"spacing_mm": (1, 1)}, "spacing"),
        ({"spacing_mm": (1e-300, 1, 1e300)}, "spacing"),
        ({"scale": -1.0}, "scale"),
        ({"scale": math.inf}, "scale"),
        ({"sigma_mm": -0.1}, "sigma_mm"),
        ({"sigma_mm": math.nan}, "sigma_mm"),
        ({"min_size": -1}, "min_size"),
        ({"min_size": 2**31}, "min_size"),
        ({"min_size": 10.5}, "min_size"),
        ({"mask": np.ones((2, 2, 2))}, "mask"),
    ],
)
def test_unusable_parameters_are_refused(volume, changes, message):
    with pytest.raises(UsageError, match=message):
        cut(volume, **changes)


@pytest.mark.parametrize("unusable", [np.zeros((3, 3)), np.zeros((2, 2, 2), complex), np.full((2, 2, 2), "a")])
def test_unusable_volumes_are_refused(unusable):
    with pytest.raises(UsageError, match="volume"):
        cut(unusable)


def test_more_voxels_than_labels_are_refused_before_memory_is_taken():
    with pytest.raises(UsageError, match="2147483648 voxels"):
        cut(np.broadcast_to(np.int8(0), (2048, 1024, 1024)))


def test_the_compiled_function_checks_what_it_is_given():
    image, weights, labels = np.zeros((2, 3, 4)), np.ones(13), np.zeros((2, 3, 4), np.int32)
    assert _supervoxel.felzenszwalb_3d(image, weights, 1.0, 1, labels) == 1
    for wrong in (
        (image, weights, 1.0, 1, labels[:1]),
        (image, weights[:12], 1.0, 1, labels),
        (image.astype(np.float32), weights, 1.0, 1, labels),
        (image.T, weights, 1.0, 1, labels.T),
        (image, weights, 1.0, 1, labels.astype(np.int64)),
    ):
        with pytest.raises(ValueError, match=r"differ|13|mismatch|contiguous"):
            _supervoxel.felzenszwalb_3d(*wrong)


def test_threads_do_not_disturb_each_other():
    volumes = [np.random.default_rng(seed).normal(size=(40, 40, 20)) for seed in range(6)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(cut, volumes))
    for volume, labels in zip(volumes, together, strict=True):
        np.testing.assert_array_equal(labels, cut(volume))


def test_other_threads_run_meanwhile():
    image, labels = np.random.default_rng(0).normal(size=(60, 100, 100)), np.empty((60, 100, 100), np.int32)
    started, steps, steps_when_done = threading.Event(), 0, []

    def segment():
        started.set()
        _supervoxel.felzenszwalb_3d(image, np.ones(13), 1.0, 500, labels)
        steps_when_done.append(steps)

    thread = threading.Thread(target=segment)
    thread.start()
    started.wait()
    while thread.is_alive():
        steps += 1
    assert steps_when_done[0] > 1000


def test_the_core_agrees_with_its_definition_without_python(tmp_path):
    compiler, source = shutil.which("c++"), Path(__file__).parents[1] / "csrc" / "test_felzenszwalb.cpp"
    if compiler is None:
        pytest.skip("no C++ compiler")
    program = tmp_path / "test_felzenszwalb"
    subprocess.run([compiler, "-std=c++17", "-O1", "-ffp-contract=off", source, "-o", program], check=True)
    answer = subprocess.run([program, "500"], check=True, capture_output=True, text=True)
    assert answer.stdout == "500 random volumes agree with the definition\n"
