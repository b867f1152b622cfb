"""Label maps that exist already, exported one by one."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfs.anatomy import LabelSet
from medfs.errors import InputError, StorageError, UsageError
from medfs.export.preview import write_preview
from medfs.export.report import statistics_rows
from medfs.export.slicer import write_color_table, write_seg_nrrd
from medfs.io import read_image, read_labels, require_same_grid, unique_case_names
from medfs.io.names import pairing_key, shown, volume_suffix

_SEGMENTATION = ".seg.nrrd"
_DATA_ONLY = (".img", ".img.gz")  # the header beside it stands for the pair


@dataclass(frozen=True, slots=True)
class ExportJob:
    """One label map and the segmentation it becomes.

    Attributes:
        case: name of the case.
        labels: the label map.
        segmentation: the ``.seg.nrrd`` to write; other files of the case are named after it.
        image: the scan, for a preview.
    """

    case: str
    labels: Path
    segmentation: Path
    image: Path | None = None

    def beside(self, ending: str) -> Path:
        """The file of this case with another ending, e.g. ``_preview.png``."""
        return self.segmentation.with_name(self.segmentation.name[: -len(_SEGMENTATION)] + ending)

    def run(self, label_set: LabelSet | None, *, color_table: bool = False) -> list[dict[str, Any]]:
        """Write the segmentation, a preview if the job has an image, and the colour table if wanted.

        Args:
            label_set: what the values mean; without it they get made-up names, and a warning says so.
            color_table: also write ``<case>_seg.csv``.

        What the readers noticed and survived is issued as warnings.

        Returns:
            The rows of :func:`medfs.export.statistics_rows`, with the case in front.

        Raises:
            InputError: the label map or the image cannot be read, or they lie on different grids.
            UsageError: a colour table is wanted of a label set that is not known.
            StorageError: a file cannot be written.
        """
        if color_table and label_set is None:
            raise UsageError(f"{self.case}: a colour table needs a label set, which says what the values mean")
        labels = read_labels(self.labels)
        image = None if self.image is None else read_image(self.image)
        if image is not None:
            require_same_grid(image, labels)
        for note in labels.warnings + (image.warnings if image is not None else ()):
            warnings.warn(note, stacklevel=2)
        organs = dict(enumerate(label_set.organs)) if label_set else {}
        make_folder(self.segmentation.parent)
        write_seg_nrrd(self.segmentation, labels.array, labels.affine, organs)
        if label_set is not None and color_table:
            write_color_table(self.beside("_seg.csv"), label_set)
        if image is not None:
            write_preview(self.beside("_preview.png"), image, labels.array, organs)
        return [{"case": self.case, **row} for row in statistics_rows(labels.array, labels.affine, organs)]


def plan_export(source: Path, output: Path, image: Path | None = None) -> list[ExportJob]:
    """What to export where; nothing is read or written yet.

    The case of ``liver_1_seg.nii.gz`` is ``liver_1``, and its segmentation ``liver_1.seg.nrrd``.

    Args:
        source: a label map, or a folder of them; what is a ``.seg.nrrd`` already is left out of a folder.
        output: a ``.seg.nrrd`` for a single label map, else a folder, which need not exist.
        image: the scan of a single label map, or the folder of the scans of several.

    Raises:
        UsageError: there is no label map or no such image, a folder would go into one file, or a file onto itself.
        InputError: two label maps have the same case name.
    """
    to_file = output.name.lower().endswith(_SEGMENTATION)
    if to_file and source.is_dir():
        raise UsageError(f"{output}: a file for a folder of label maps; expected a folder")
    images = {} if image is None else _images(image, source)
    single = image if image is not None and image.is_file() else None
    jobs = []
    for case, path in _cases(source).items():
        target = output if to_file else output / f"{case}{_SEGMENTATION}"
        if target.resolve() == path.resolve():
            raise UsageError(f"{target}: would replace the label map it is made from; choose another output")
        jobs.append(ExportJob(case, path, target, images.get(pairing_key(case), single)))
    if image is not None and (missing := [job.case for job in jobs if job.image is None]):
        raise UsageError(f"{image}: no image of {', '.join(missing[:5])}; expected files of the same names")
    return jobs


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless it exists.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot make the folder ({error.strerror})") from error


def _cases(source: Path) -> dict[str, Path]:
    if source.is_dir():
        paths = [path for path in _volumes(source) if not path.name.lower().endswith(_SEGMENTATION)]
        if not paths:
            raise UsageError(f"{source}: no label map inside; expected files such as case_1.nii.gz")
    elif source.exists():
        paths = [source]
    else:
        raise UsageError(f"{source}: no such file or folder")
    cases = {name.removesuffix("_seg") or name: path for name, path in unique_case_names(paths).items()}
    if len({case.casefold() for case in cases}) < len(paths):
        raise InputError(f"{shown(source)}: x and x_seg have equal case names; rename one of each pair")
    return cases


def _images(image: Path, source: Path) -> Mapping[str, Path]:
    if not image.exists():
        raise UsageError(f"{image}: no such file or folder")
    if image.is_dir():
        return {pairing_key(name): path for name, path in unique_case_names(_volumes(image)).items()}
    if source.is_dir():
        raise UsageError(f"{image}: one image for a folder of label maps; expected a folder of images")
    return {}


def _volumes(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return [path for path in paths if volume_suffix(path) and volume_suffix(path).lower() not in _DATA_ONLY]
