"""Which files a call means: files, folders and patterns become a list of cases."""

import glob
from collections.abc import Iterable
from pathlib import Path

from medfs.errors import UsageError
from medfs.io import unique_case_names

IMAGE_SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".mgz", ".mgh")


def find_images(inputs: Iterable[str | Path]) -> dict[str, Path]:
    """Resolve files, folders and glob patterns to scans by case name, sorted.

    A folder means the scans directly inside it. nnU-Net names ending in ``_0000`` lose that ending.

    Raises:
        UsageError: an input does not exist or holds no scan, or two scans would get the same output name.
    """
    paths: list[Path] = []
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            found = sorted(item for item in path.iterdir() if item.name.lower().endswith(IMAGE_SUFFIXES))
            if not found:
                raise UsageError(f"{path}: no scan inside; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
        elif path.exists():
            found = [path]
        else:
            found = sorted(Path(match) for match in glob.glob(str(given), recursive=True))
            if not found:
                raise UsageError(f"{given}: no such file or folder")
        paths += found
    return unique_case_names(dict.fromkeys(path.absolute() for path in paths))


def image_items(dataset_dir: str | Path) -> list[dict[str, str]]:
    """`find_images` of one folder as MONAI items with ``image`` and ``case``."""
    return [{"image": str(path), "case": name} for name, path in find_images([dataset_dir]).items()]
