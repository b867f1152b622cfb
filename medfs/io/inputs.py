"""Which files a call means: files, folders and patterns become a list of cases."""

import glob
from collections.abc import Iterable
from pathlib import Path

from medfs.errors import InputError, UsageError
from medfs.io.names import unique_case_names, volume_suffix

_NO_SCANS = ("", ".img", ".img.gz", ".seg.nrrd")  # of a pair the header counts


def find_images(inputs: Iterable[str | Path]) -> dict[str, Path]:
    """Resolve files, folders and glob patterns to scans by case name, sorted.

    A folder means the scans directly inside it, a pattern the scans it matches; hidden files and segmentations
    (``.seg.nrrd``) are none. nnU-Net names ending in ``_0000`` lose that ending.

    Raises:
        UsageError: an input does not exist or holds no scan, or two scans would get the same output name.
    """
    paths: list[Path] = []
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            found = sorted(filter(_is_scan, path.iterdir()))
            if not found:
                raise UsageError(f"{path}: no scan inside; expected files such as .nii.gz, .nii, .mha, .nrrd or .mgz")
        elif path.exists():
            found = [path]
        else:
            found = sorted(filter(_is_scan, map(Path, glob.glob(str(given), recursive=True))))
            if not found:
                raise UsageError(f"{given}: no such file or folder, and no scan fits it as a pattern")
        paths += found
    try:
        return unique_case_names(dict.fromkeys(path.absolute() for path in paths))
    except InputError as error:
        raise UsageError(str(error)) from error


def _is_scan(path: Path) -> bool:
    named_so = volume_suffix(path).lower() not in _NO_SCANS and not path.name.startswith(".")
    return named_so and path.is_file()


def image_items(dataset_dir: str | Path) -> list[dict[str, str]]:
    """`find_images` of one folder as MONAI items with ``image`` and ``case``."""
    return [{"image": str(path), "case": name} for name, path in find_images([dataset_dir]).items()]
