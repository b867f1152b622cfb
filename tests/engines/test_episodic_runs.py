"""Episodes of a training run from a dataset folder."""

import pytest
from marked_cases import write_marked

from medfs.anatomy import custom_label_set
from medfs.engines.episodic_runs import folder_protocol, training_cases
from medfs.errors import UsageError


def test_setting_2_without_labelled_cases_outside_the_fold_is_refused_in_one_line(tmp_path):
    write_marked(tmp_path, 5)
    for number in (3, 4):
        (tmp_path / "labels" / f"case_{number}.nii.gz").unlink()
    labels = custom_label_set(("background", "liver", "spleen", "right_kidney"))
    in_setting_2 = folder_protocol(tmp_path, labels, fold_length=2, exclude=["liver"])
    folders = tmp_path, tmp_path / "supervoxels", tmp_path / "cache"
    with pytest.raises(UsageError, match=r"fold 0: none of the 2 cases for training has a label map; expected [^\n]*$"):
        training_cases(*folders, in_setting_2, 0)
    in_setting_1 = folder_protocol(tmp_path, labels, fold_length=2)
    assert [case.name for case in training_cases(*folders, in_setting_1, 0)] == ["case_3", "case_4"]
