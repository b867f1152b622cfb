"""Published splits: the lists, what they leave open, and the datalist that training takes."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from medfs.errors import InputError, UsageError
from medfs.io.splits import split_from_datalist
from medfs.phantom import write_cohort
from preprocessing import amos, synapse
from preprocessing.command import main
from preprocessing.splits import PARTS, PublishedSplits, write_datalist

FOLDERS = {f"amos_{k:04d}": "imagesTr" for k in range(1, 9)}
FOLDERS |= {"amos_0008": "imagesVa", "amos_0600": "imagesTs"}


@pytest.fixture
def written(tmp_path):
    """A split file; returns its path."""

    def write(content, name="mine.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def test_synapse_splits_are_24_training_4_validation_and_6_test_cases_of_the_30():
    for name, labelled in (("10p", 2), ("20p", 4)):
        lists = synapse.RECIPE.splits.lists(name)
        assert {part: len(lists[part]) for part in PARTS} == {
            "labelled": labelled,
            "unlabelled": 20 - labelled,
            "validation": 4,
            "test": 6,
        }
        training = {*range(1, 11), *range(21, 41)}  # the 30 numbers of the challenge
        assert {int(case) for part in PARTS for case in lists[part]} == training


def test_amos_splits_are_disjoint_and_three_labelled_cases_of_5p_are_mr():
    two, five = (amos.RECIPE.splits.lists(name) for name in ("2p", "5p"))
    assert (len(two["labelled"]), len(five["labelled"])) == (4, 10)
    assert not {*two["labelled"]} & {*five["labelled"]}
    assert [sum(int(case[5:]) >= 507 for case in split["labelled"]) for split in (two, five)] == [0, 3]


@pytest.mark.parametrize(("name", "reason"), [("20p", "20 are not in the training list"), ("10p", "not documented")])
def test_amos_splits_that_leak_or_are_unknown_are_refused_with_the_reason(name, reason):
    with pytest.raises(UsageError, match=reason):
        amos.RECIPE.splits.lists(name)


def test_open_parts_are_filled_from_the_folders_of_the_release():
    sections = amos.RECIPE.splits.sections({"labelled": ["amos_0003"], "validation": ["amos_0005"]}, FOLDERS)
    assert sections["test"] == ["amos_0008"]
    assert sections["unlabelled"] == ["amos_0001", "amos_0002", "amos_0004", "amos_0006", "amos_0007"]
    assert Counter(case for part in sections.values() for case in part).most_common(1)[0][1] == 1


def test_a_part_that_is_listed_stays_as_it_is():
    lists = {"labelled": ["amos_0003"], "unlabelled": [], "test": ["amos_0001"]}
    assert amos.RECIPE.splits.sections(lists, FOLDERS) == {**lists, "validation": []}


def test_a_list_of_validation_cases_takes_the_place_of_the_splits_own(written):
    lists = PublishedSplits("synapse").lists("10p", Path(written("0006\n0025\n", "eval.txt")))
    assert lists["validation"] == ["0006", "0025"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labelled": ["a"], "test": ["b", "a"]}, r"more than once: a \(labelled\), a \(test\)"),
        ({"labelled": ["a", "a"]}, "more than once"),
        ({"labelled": []}, "labelled not empty"),
        ({"labelled": ["a"], "training": ["b"]}, "expected lists of case names called"),
        ({"labelled": "a"}, "expected lists of case names called"),
        ({"labelled": ["a"], "test": [3]}, "expected lists of case names called"),
        ("[]", "expected an object"),
    ],
)
def test_a_file_that_is_no_split_is_refused(written, content, message):
    with pytest.raises(InputError, match=message):
        PublishedSplits("amos").lists(written(content))


def test_a_name_that_is_neither_published_nor_a_file_is_refused():
    with pytest.raises(UsageError, match="expected 2p, 5p or a JSON file"):
        amos.RECIPE.splits.lists("3p")


def test_the_datalist_gives_training_the_split(tmp_path):
    write_cohort(tmp_path, 5, labelled=4, spacing_mm=20.0)
    names = sorted(path.name.removesuffix(".nii.gz") for path in (tmp_path / "labels").iterdir())
    parts = dict(zip(PARTS, ([names[0]], names[1:2], names[2:3], names[3:]), strict=True))
    write_datalist(tmp_path / "datalist_mine.json", parts)
    split = split_from_datalist(tmp_path / "datalist_mine.json")
    assert {part: [case.name for case in split.cases(part)] for part in PARTS} == parts
    assert split.unlabelled[0].label is None


def test_a_datalist_of_missing_files_is_not_written(tmp_path):
    with pytest.raises(InputError, match=r"lacks 2 of its files: images/a.nii.gz, labels/a.nii.gz"):
        write_datalist(tmp_path / "datalist.json", {"labelled": ["a"]})
    assert not (tmp_path / "datalist.json").exists()


def release(tmp_path, cases):
    """The tree of AMOS22 with cases of a few voxels, by the part they are in."""
    import nibabel as nib

    for part, number in cases:
        for kind in ("images", "labels"):
            if (kind, part) == ("labels", "Ts"):
                continue
            path = tmp_path / "raw" / f"{kind}{part}" / f"amos_{number:04d}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            array = np.arange(24).reshape(4, 3, 2) % 5 + number * (kind == "images")
            nib.save(nib.Nifti1Image(array.astype(np.int16), np.diag([1.0, 1.0, 5.0, 1.0])), path)
    return str(tmp_path / "raw"), str(tmp_path / "out")


def test_the_command_writes_the_datalist_and_says_what_is_left_open(tmp_path, capsys, written):
    call = release(tmp_path, [*[("Tr", n) for n in (1, 2, 17, 77, 358, 361)], ("Va", 8), ("Ts", 600)])
    assert main(amos.RECIPE, [*call, "--split", "2p"]) == 0
    said = capsys.readouterr().err
    assert "datalist_2p.json: 4 labelled, 2 unlabelled, 0 validation, 1 test" in said
    assert "the 24 of the papers are not documented" in said
    assert main(amos.RECIPE, [*call, "--split", "2p", "--validation", written("amos_0002\n", "eval.txt")]) == 0
    said = capsys.readouterr().err
    assert "4 labelled, 1 unlabelled, 1 validation, 1 test" in said
    assert "not documented" not in said
    split = split_from_datalist(tmp_path / "out" / "datalist_2p.json")
    assert [case.name for case in split.test] == ["amos_0008"]


def test_the_command_refuses_before_it_starts_and_names_what_a_split_lacks(tmp_path, capsys):
    call = release(tmp_path, [("Tr", 17), ("Tr", 77)])
    assert main(amos.RECIPE, [*call, "--split", "20p"]) == 2
    assert "published lists leak" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(amos.RECIPE, [*call, "--split", "2p"]) == 1
    assert "lacks 4 of its files: images/amos_0358.nii.gz" in capsys.readouterr().err
    assert (tmp_path / "out" / "manifest.json").exists()
