"""Cases are found, paired and complained about together."""

import json

import pytest

from medfs.errors import InputError, UsageError
from medfs.io import Case, find_cases
from medfs.io.datasets import read_datalist


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def test_a_folder_pairs_images_with_labels_and_keeps_the_unlabelled(tmp_path):
    make(tmp_path, "images/b.nii.gz", "images/a.nii", "images/c.mha", "labels/a.nii.gz", "labels/c.seg.nrrd")
    make(tmp_path, "images/notes.txt", "images/.hidden.nii", "README.md")
    cases = find_cases(tmp_path)
    assert [(c.name, c.patient, c.label and c.label.name) for c in cases] == [
        ("a", "a", "a.nii.gz"),
        ("b", "b", None),
        ("c", "c", "c.seg.nrrd"),
    ]
    assert all(c.image.is_absolute() for c in cases)


@pytest.mark.parametrize(
    ("image", "label", "name"),
    [
        ("imagesTr/x_0000.nii.gz", "labelsTr/x.nii.gz", "x"),
        ("images/x_0000.nii.gz", "labels/x_0000.nii.gz", "x_0000"),
        ("images/x_0000_0000.nii.gz", "labels/x_0000.nii.gz", "x_0000"),
        ("images/image_7.nii.gz", "labels/label_7.nii.gz", "image_7"),
        ("images/x.hdr", "labels/x.nii", "x"),
    ],
)
def test_usual_naming_schemes_pair_up(tmp_path, image, label, name):
    make(tmp_path, image, label)
    if image.endswith(".hdr"):
        make(tmp_path, image.replace(".hdr", ".img"))
    (case,) = find_cases(tmp_path)
    assert case == Case(name, name, tmp_path / image, tmp_path / label)


def test_all_faults_of_a_folder_are_in_one_line(tmp_path):
    make(tmp_path, "images/a.nii", "labels/a.nii", "labels/b.nii", "labels/c.nii")
    with pytest.raises(InputError, match=r"label b\.nii has no image; label c\.nii has no image$"):
        find_cases(tmp_path)
    make(tmp_path, "images/A.nii.gz")
    with pytest.raises(InputError, match=r"A\.nii\.gz and a\.nii: equal case names"):
        find_cases(tmp_path)


def test_two_labels_of_one_name_are_refused(tmp_path):
    make(tmp_path, "images/a.nii", "labels/a.nii", "labels/a.nii.gz")
    with pytest.raises(InputError, match="1 labels of equal names"):
        find_cases(tmp_path)


@pytest.mark.parametrize("names", [(), ("images/notes.txt",), ("scans/a.nii",)])
def test_a_folder_without_cases_says_what_is_expected(tmp_path, names):
    make(tmp_path, *names)
    with pytest.raises(InputError, match="expected"):
        find_cases(tmp_path)


def test_patients_are_found_by_a_pattern(tmp_path):
    make(tmp_path, *[f"images/{name}.nii" for name in ("p1_pre", "p1_post", "p2_pre")])
    assert [c.patient for c in find_cases(tmp_path, patient_pattern=r"^p\d+")] == ["p1", "p1", "p2"]
    assert [c.patient for c in find_cases(tmp_path, patient_pattern=r"^p(\d+)_")] == ["1", "1", "2"]
    with pytest.raises(InputError, match=r"finds no patient in p1_post; .*p1_pre$"):
        find_cases(tmp_path, patient_pattern="^p2")
    with pytest.raises(UsageError, match="regular expression"):
        find_cases(tmp_path, patient_pattern="(")


def write_datalist(tmp_path, content, encoding="utf-8"):
    path = tmp_path / "dataset.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding)
    return path


def test_a_datalist_is_read_section_by_section(tmp_path):
    make(tmp_path, "i/a.nii", "i/b.nii", "i/t.nii", "l/a.nii", "i/d.nii")
    content = {
        "name": "made up",
        "labels": {"0": "background"},
        "modality": ["CT", "MR"],
        "training": [{"image": "./i/a.nii", "label": "l/a.nii", "fold": 0}, {"image": str(tmp_path / "i/b.nii")}],
        "validation": [{"image": "i/d.nii", "case": "dee", "patient": "dora"}],
        "test": ["./i/t.nii"],
    }
    content.pop("modality")
    path = write_datalist(tmp_path, content, "utf-8-sig")
    sections = read_datalist(path)
    assert sections["training"][0] == Case("a", "a", tmp_path / "i/a.nii", tmp_path / "l/a.nii")
    assert sections["validation"] == [Case("dee", "dora", tmp_path / "i/d.nii")]
    assert [c.name for c in find_cases(path)] == ["a", "b", "dee", "t"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "a b", "", "..", ".hidden", "x" * 300, "\ud800", "a/b", "%zz"])
def test_a_case_is_never_called_something_unsafe(tmp_path, name):
    with pytest.raises(InputError):
        Case(name, "p", tmp_path / "a.nii")


def test_a_hostile_case_name_of_a_datalist_is_encoded(tmp_path):
    make(tmp_path, "a.nii")
    path = write_datalist(tmp_path, {"training": [{"image": "a.nii", "case": "../../x y"}]})
    assert find_cases(path)[0].name == "%2E.%2F..%2Fx%20y"
    for image in ("\ud800.nii", "a\0.nii", ".nii"):
        with pytest.raises(InputError):
            find_cases(write_datalist(tmp_path, {"training": [{"image": image}]}))


def test_all_faults_of_a_datalist_are_in_one_line(tmp_path):
    make(tmp_path, "a.nii", "x/a.nii")
    content = {
        "training": [{"image": "a.nii", "label": "gone.nii"}, {"image": "x/a.nii"}, {"label": "a.nii"}],
        "test": [{"image": ["a.nii", "b.nii"]}, {"image": "lost.nii"}],
    }
    with pytest.raises(InputError) as caught:
        find_cases(write_datalist(tmp_path, content))
    for fault in (
        "gone.nii is missing",
        "lost.nii is missing",
        "the case name a comes 2 times",
        "training[2]",
        "test[0]",
    ):
        assert fault in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"training": [], "training": []}', "\x00", "[" * 100_000])
def test_what_is_no_json_object_is_an_input_error(tmp_path, content):
    with pytest.raises(InputError, match=r"^dataset\.json: "):
        find_cases(write_datalist(tmp_path, content))


def test_an_item_of_an_unlabelled_case_has_no_label(tmp_path):
    assert Case("a", "a", tmp_path / "a.nii").item() == {"image": str(tmp_path / "a.nii"), "case": "a"}
    labelled = Case("a", "a", tmp_path / "a.nii", tmp_path / "l.nii").item()
    assert labelled == {"image": str(tmp_path / "a.nii"), "label": str(tmp_path / "l.nii"), "case": "a"}


def test_real_datasets_are_found(real_data):
    for name, count in (("chaost2_mr", 20), ("openkbp_hn_ct", 30), ("msd_hippocampus", 200)):
        cases = find_cases(real_data / name)
        assert len(cases) == count
        assert all(c.label and c.label.exists() for c in cases)
