"""Checkpoints are whole or absent, and never run code."""

import contextlib
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from medfs.engines import checkpoint
from medfs.engines.checkpoint import load_checkpoint, save_checkpoint
from medfs.engines.handlers import best_network
from medfs.errors import InputError, StorageError
from medfs.io.atomic import keep_previous
from medfs.semisup import MeanTeacher

STATE = {"step": 7, "name": "run", "weights": {"a": torch.arange(6.0).view(2, 3)}, "rate": 0.25}


def test_what_was_saved_comes_back(tmp_path):
    path = tmp_path / "deep" / "last.pt"
    save_checkpoint(path, STATE)
    found = load_checkpoint(path)
    assert {key: found[key] for key in ("step", "name", "rate")} == {"step": 7, "name": "run", "rate": 0.25}
    assert torch.equal(found["weights"]["a"], STATE["weights"]["a"])
    assert [item.name for item in path.parent.iterdir()] == ["last.pt"]


def test_a_failed_write_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)
    before = path.read_bytes()

    def full(state, file):
        file.write(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:659] . unexpected pos 1 vs 2")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StorageError, match=r"last\.pt: checkpoint not written"):
        save_checkpoint(path, {**STATE, "step": 8})
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["last.pt"]


def test_a_folder_in_the_way_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        save_checkpoint(tmp_path / "file" / "last.pt", STATE)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match=r"best\.pt: no such checkpoint"):
        load_checkpoint(tmp_path / "best.pt")


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_checkpoint_is_refused_or_still_a_dictionary(tmp_path, seed):
    """Truncated at random or with random bytes changed: an error of ours, never another one."""
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)
    random, content = np.random.default_rng(seed), bytearray(path.read_bytes())
    if seed % 2:
        content = content[: random.integers(len(content))]
    else:
        for place in random.integers(len(content), size=8):
            content[place] ^= int(random.integers(1, 256))
    path.write_bytes(content)
    try:
        found = load_checkpoint(path)
    except InputError as error:
        found = str(error)
    assert isinstance(found, dict) or ("\n" not in found and len(found) < 400)


def test_flipped_bits_are_noticed(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)
    whole = path.read_bytes()
    for place in range(0, len(whole) - 79, 7):  # behind come the length, the name and the digits of the hash itself
        content = bytearray(whole)
        content[place] ^= 1 << (place % 8)
        path.write_bytes(content)
        with pytest.raises(InputError, match="does not fit its hash"):
            load_checkpoint(path)
    for place in range(len(whole) - 79, len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << (place % 8)
        path.write_bytes(content)
        with contextlib.suppress(InputError):
            assert torch.equal(load_checkpoint(path)["weights"]["a"], STATE["weights"]["a"])


def test_the_file_is_one_that_torch_and_zip_tools_read_and_its_bytes_depend_on_the_state_alone(tmp_path):
    for name in ("a.pt", "b.pt"):
        save_checkpoint(tmp_path / name, STATE)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    assert torch.equal(torch.load(tmp_path / "a.pt", weights_only=True)["weights"]["a"], STATE["weights"]["a"])
    assert zipfile.ZipFile(tmp_path / "a.pt").testzip() is None


def test_a_checkpoint_without_a_hash_is_taken(tmp_path):
    torch.save(STATE, tmp_path / "other.pt")
    assert load_checkpoint(tmp_path / "other.pt")["step"] == 7


def test_what_reads_back_otherwise_is_not_kept(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)
    monkeypatch.setattr(checkpoint, "_is_intact", lambda path: False)
    with pytest.raises(StorageError, match="reads back otherwise than written"):
        save_checkpoint(path, {**STATE, "step": 8})
    monkeypatch.undo()
    assert load_checkpoint(path)["step"] == 7


class Code:
    """Would make a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    save_checkpoint(tmp_path / "last.pt", {"step": Code(str(tmp_path / "ran"))})
    with pytest.raises(InputError, match="not a readable checkpoint") as caught:
        load_checkpoint(tmp_path / "last.pt")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_without_hard_links_the_earlier_state_is_kept_all_the_same(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("medfs.io.atomic.os.link", refused)
    (tmp_path / "last.pt").write_bytes(b"one")
    keep_previous(tmp_path / "last.pt", tmp_path / "last.prev.pt")
    assert (tmp_path / "last.prev.pt").read_bytes() == b"one"


def linear(value):
    network = nn.Linear(2, 1)
    nn.init.constant_(network.weight, value)
    return network


def test_the_best_network_is_the_teacher_or_the_student(tmp_path):
    state = {"network": linear(1.0).state_dict(), "teacher": MeanTeacher(linear(2.0)).state_dict()}
    save_checkpoint(tmp_path / "best.pt", state)
    assert float(best_network(tmp_path, linear(0.0)).weight[0, 0].detach()) == 2.0
    assert float(best_network(tmp_path, linear(0.0), "student").weight[0, 0].detach()) == 1.0


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"teacher": {}, "network": {}},
        {"teacher": 3, "network": 4},
        {"teacher": MeanTeacher(nn.Linear(5, 1)).state_dict(), "network": {}},
    ],
)
def test_a_checkpoint_of_another_network_is_one_line(tmp_path, state):
    save_checkpoint(tmp_path / "best.pt", state)
    with pytest.raises(InputError, match="no checkpoint of this network") as caught:
        best_network(tmp_path, linear(0.0))
    assert "\n" not in str(caught.value)
