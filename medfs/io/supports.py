"""Which labelled scans a few-shot call means: pairs of files, two folders or a dataset."""

from collections.abc import Sequence
from pathlib import Path

from medfs.errors import InputError, UsageError
from medfs.io.datasets import Case, find_cases, pair_folders
from medfs.io.names import shown, unique_case_names, volume_suffix


def find_supports(scans: Sequence[Path], masks: Sequence[Path] = ()) -> list[Case]:
    """The labelled scans, each with its label map.

    Args:
        scans: files, one folder of scans, or one dataset as :func:`find_cases` knows it.
        masks: as many files in the same order, one folder whose names pair with those of the scans, or nothing for a
            dataset, of which the images without a label map are left out.

    Returns:
        Cases in the order of the files, sorted by name from folders; all have a label.

    Raises:
        UsageError: files and folders mixed, another number of masks than of scans, nothing inside, or something that
            does not exist.
        InputError: a scan of a folder without mask, a mask without scan, or equal case names; all in one message.
    """
    if missing := [path for path in (*scans, *masks) if not path.exists()]:
        raise UsageError(f"{missing[0]}: no such file or folder")
    if not any(path.is_dir() for path in (*scans, *masks)):
        return _of_files(scans, masks)
    if len(scans) > 1 or len(masks) > 1:
        raise UsageError(
            f"{len(scans)} --support and {len(masks)} --support-mask with a folder among them; "
            "expected either files alone, or one folder of each"
        )
    if not masks:
        return _of_dataset(scans[0])
    if not (scans[0].is_dir() and masks[0].is_dir()):
        raise UsageError(f"{scans[0]} and {masks[0]}: a file and a folder; expected two files or two folders")
    return _of_folders(scans[0], masks[0])


def _of_files(scans: Sequence[Path], masks: Sequence[Path]) -> list[Case]:
    if len(scans) != len(masks):
        raise UsageError(f"{len(scans)} --support and {len(masks)} --support-mask; expected one mask a scan")
    named = unique_case_names(scans)
    return [Case(name, name, scan, mask) for (name, scan), mask in zip(named.items(), masks, strict=True)]


def _of_dataset(folder: Path) -> list[Case]:
    if not any((folder / name).is_dir() for name in ("images", "imagesTr")):
        raise UsageError(f"{folder}: no images/ and labels/ inside; expected them, or --support-mask FOLDER beside it")
    cases = [case for case in find_cases(folder) if case.label is not None]
    if not cases:
        raise UsageError(f"{folder}: no scan has a label map; expected at least one in labels/")
    return sorted(cases, key=lambda case: case.name)


def _of_folders(scans: Path, masks: Path) -> list[Case]:
    if not any(map(volume_suffix, scans.iterdir())):
        raise UsageError(f"{scans}: no scan inside; expected files such as .nii.gz, .nii, .mha, .nrrd or .mgz")
    cases = pair_folders(scans, masks, f"{shown(scans)} and {shown(masks)}")
    if alone := [shown(case.image) for case in cases if case.label is None]:
        some = ", ".join(alone[:3]) + (f" and {len(alone) - 3} more" if len(alone) > 3 else "")
        raise InputError(f"{shown(scans)}: no mask in {masks} for {some}; expected the same names")
    return sorted(cases, key=lambda case: case.name)
