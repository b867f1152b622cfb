"""One page for people: tables and pictures of a run as HTML that any browser opens, without a network."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

import medfs
from medfs.io import atomic_path

Cell = str | int | float


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table of a page; figures, and texts that are one, are set to the right.

    Attributes:
        title: heading above it.
        header: name of each column.
        rows: as many cells each as there are columns; none gives a table without body.
        note: a sentence below it.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class PagePicture:
    """A picture of a page.

    Attributes:
        path: the file, which must stay where it is relative to the page.
        caption: the line below it.
    """

    path: Path
    caption: str


def write_page(
    path: str | Path,
    title: str,
    lines: Sequence[str] = (),
    tables: Sequence[PageTable] = (),
    pictures: Sequence[PagePicture] = (),
) -> None:
    """Write a page; text is escaped, so that no file name can become markup.

    Args:
        path: the HTML file; its folder must exist. Pictures are linked relative to it and not copied.
        title: heading of the page.
        lines: paragraphs below the heading.
        tables: in this order; may be none.
        pictures: after the tables; may be none.

    Raises:
        StorageError: the file cannot be written.
    """
    path = Path(path)
    environment = Environment(
        loader=PackageLoader("medfs.export"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["figure"] = _is_figure
    folder = path.parent.resolve()
    shown = [
        {"source": quote(Path(os.path.relpath(picture.path.resolve(), folder)).as_posix()), "caption": picture.caption}
        for picture in pictures
    ]
    text = environment.get_template("page.html").render(
        title=title, lines=lines, tables=tables, pictures=shown, version=medfs.__version__
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _is_figure(cell: Cell) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
