"""Draws previews. The one module that imports matplotlib; it uses its objects and leaves its global state alone."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from medfs.export.planes import Entry, Plane, Window
from medfs.export.tiles import Tile

_DPI = 100
_WIDTH_INCH, _COLUMN_INCH, _ROW_INCH = 14.0, 3.6, 0.18
_HEAD_INCH, _FOOT_INCH = 0.75, 0.45
_LOWEST_INCH, _HIGHEST_INCH = 2.4, 4.3
_GROUND, _INK, _DIM = "#101010", "#f0f0f0", "#909090"
_FONT = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
_HALO = withStroke(linewidth=3, foreground="black")
_MOST_ROWS = 19
_FILLED = 0.55
_TILE_COLORS = ("#35c8ff", "#ffb000")  # told apart by every kind of colour vision
_THIN = 0.12  # a plane that is less high than this part of its width has its letters outside
_SCALES_MM = (100, 50, 10)


def save(
    path: Path, planes: Sequence[Plane], window: Window, entries: Sequence[Entry], heading: tuple[str, str]
) -> None:
    """Draw the planes side by side with a legend and write them as PNG.

    Args:
        path: the file.
        planes: from left to right.
        window: intensities that are black and white.
        entries: the legend; absent organs are named last and in one dim paragraph.
        heading: name of the case and what its grid is.
    """
    body = _body_inch(planes, entries)
    height = body + _HEAD_INCH + _FOOT_INCH
    figure = Figure(figsize=(_WIDTH_INCH, height), dpi=_DPI, facecolor=_GROUND)
    FigureCanvasAgg(figure)
    top, bottom = 1 - _HEAD_INCH / height, _FOOT_INCH / height
    widths = [1.0] * len(planes) + [0.72]
    grid = figure.add_gridspec(
        1, len(widths), left=0.01, right=0.99, top=top, bottom=bottom, wspace=0.03, width_ratios=widths
    )
    colors = {entry.value: tuple(channel / 255 for channel in entry.organ.color) for entry in entries}
    for column, plane in enumerate(planes):
        axes = figure.add_subplot(grid[0, column])
        _draw_plane(axes, plane, window)
        for value in np.unique(plane.labels[plane.labels > 0]):
            _outline(axes, plane.labels == value, plane.spacing_mm, colors[int(value)])
    _draw_legend(figure.add_subplot(grid[0, len(planes)]), entries, body / _ROW_INCH)
    name, facts = heading
    _style(figure.text(0.012, 1 - 0.32 / height, _shortened(name, 90)), 13)
    footer = f"{facts}   |   {window.text}   |   axial and coronal: the patient's right is at the viewer's left"
    _style(figure.text(0.012, 0.12 / height, footer), 8, _DIM)
    figure.savefig(path, format="png", facecolor=_GROUND, metadata={"Software": None})


def save_regions(
    path: Path, planes: Sequence[Plane], window: Window, colors: Sequence[str], heading: tuple[str, str]
) -> None:
    """Draw each plane twice, bare and below it with its regions filled, and write them as PNG.

    Args:
        path: the file.
        planes: from left to right.
        window: intensities that are black and white.
        colors: of each label; that of 0 is not used, 0 stays bare.
        heading: name of the case and what is shown.
    """
    pictures = max(_size_mm(plane)[1] / _size_mm(plane)[0] for plane in planes) * _COLUMN_INCH
    row = min(max(_LOWEST_INCH, pictures), _HIGHEST_INCH)
    width, height = len(planes) * (_COLUMN_INCH + 0.1), 2 * row + 2 * _ROW_INCH + _HEAD_INCH + _FOOT_INCH
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor=_GROUND)
    FigureCanvasAgg(figure)
    bounds = {"left": 0.01, "right": 0.99, "bottom": _FOOT_INCH / height, "top": 1 - _HEAD_INCH / height}
    grid = figure.add_gridspec(2, len(planes), **bounds, wspace=0.03, hspace=2 * _ROW_INCH / row)
    rgba = to_rgba_array(colors, _FILLED)
    rgba[0] = 0
    for column, plane in enumerate(planes):
        _draw_plane(figure.add_subplot(grid[0, column]), plane, window)
        axes = figure.add_subplot(grid[1, column])
        _draw_plane(axes, plane, window)
        axes.imshow(rgba[plane.labels], extent=(0, *_size_mm(plane), 0), interpolation="nearest", zorder=0.5)
    name, facts = heading
    _style(figure.text(0.012, 1 - 0.32 / height, _shortened(name, 90)), 13)
    _style(figure.text(0.012, 0.12 / height, f"{facts}   |   {window.text}"), 8, _DIM)
    figure.savefig(path, format="png", facecolor=_GROUND, metadata={"Software": None})


def save_tiles(path: Path, rows: Sequence[Sequence[Tile]], heading: tuple[str, str]) -> None:
    """Draw rows of captioned pictures with the outline of a mask on each and write them as PNG.

    Args:
        path: the file.
        rows: of tiles, from above; not all need to be equally long.
        heading: what is shown, and a line below it.
    """
    across = max(map(len, rows))
    side = _WIDTH_INCH / max(across, 4)
    highest = max(tile.size_mm[1] / tile.size_mm[0] for row in rows for tile in row)
    row_inch = side * min(highest, 1.5) + 2.5 * _ROW_INCH
    height = len(rows) * row_inch + _HEAD_INCH
    figure = Figure(figsize=(side * across, height), dpi=_DPI, facecolor=_GROUND)
    FigureCanvasAgg(figure)
    bounds = {"left": 0.01, "right": 0.99, "bottom": 0.0, "top": 1 - (_HEAD_INCH + 2 * _ROW_INCH) / height}
    grid = figure.add_gridspec(len(rows), across, **bounds, wspace=0.04, hspace=2.5 * _ROW_INCH / row_inch)
    for r, row in enumerate(rows):
        for c, tile in enumerate(row):
            _draw_tile(figure.add_subplot(grid[r, c]), tile, (side * 72) / 5.2)
    for text, size, inch, color in ((heading[0], 13, 0.32, _INK), (heading[1], 9, 0.58, _DIM)):
        _style(figure.text(0.012, 1 - inch / height, _shortened(text, round(side * across * 11))), size, color)
    figure.savefig(path, format="png", facecolor=_GROUND, metadata={"Software": None})


def _draw_tile(axes: Axes, tile: Tile, letters: float) -> None:
    width, height = tile.size_mm
    axes.set_axis_off()
    low, high = np.percentile(tile.picture, (0, 99.5)).tolist()
    window = {"vmin": low, "vmax": high if high > low else low + 1}
    axes.imshow(tile.picture, "gray", **window, extent=(0, width, height, 0), interpolation="bilinear")
    if tile.mask.any():
        _outline(axes, tile.mask, tile.spacing_mm, _TILE_COLORS[tile.group % len(_TILE_COLORS)])
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    lines = "\n".join(_shortened(line, round(letters)) for line in tile.caption)
    _style(axes.set_title(lines, loc="left", pad=4), 8, _DIM)


def _body_inch(planes: Sequence[Plane], entries: Sequence[Entry]) -> float:
    """Height of the planes or of the legend, whichever needs more."""
    pictures = max(_size_mm(plane)[1] / _size_mm(plane)[0] for plane in planes) * _COLUMN_INCH
    rows = min(sum(entry.volume_ml > 0 for entry in entries), _MOST_ROWS) + 5
    return min(max(_LOWEST_INCH, pictures, rows * _ROW_INCH), _HIGHEST_INCH)


def _size_mm(plane: Plane) -> tuple[float, float]:
    """Width and height."""
    rows, columns = plane.picture.shape
    return columns * plane.spacing_mm[1], rows * plane.spacing_mm[0]


def _draw_plane(axes: Axes, plane: Plane, window: Window) -> None:
    width, height = _size_mm(plane)
    axes.set_axis_off()
    axes.set_anchor("N")
    extent = (0, width, height, 0)
    axes.imshow(plane.picture, "gray", vmin=window.low, vmax=window.high, extent=extent, interpolation="bilinear")
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    _mark_edges(axes, plane.edges, wide=width > _THIN * height, high=height > _THIN * width)
    if height > _THIN * width:
        _draw_scale(axes, width, height)
    title = axes.annotate(plane.title, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points")
    _style(title, 9, _DIM)


def _mark_edges(axes: Axes, edges: tuple[str, str, str, str], *, wide: bool, high: bool) -> None:
    """Letters at the left, right, top and bottom, inside the picture where it has room for them."""
    inward_x, inward_y = 5 if wide else -5, 3 if high else -3
    places = (
        (0.0, 0.5, inward_x, 0, "left" if wide else "right", "center"),
        (1.0, 0.5, -inward_x, 0, "right" if wide else "left", "center"),
        (0.5, 1.0, 0, -inward_y, "center", "top" if high else "bottom"),
        (0.5, 0.0, 0, inward_y, "center", "bottom" if high else "top"),
    )
    for letters, (x, y, right, up, horizontal, vertical) in zip(edges, places, strict=True):
        text = axes.annotate(
            letters,
            (x, y),
            (right, up),
            xycoords="axes fraction",
            textcoords="offset points",
            ha=horizontal,
            va=vertical,
        )
        _style(text, 12)
        text.set_path_effects([_HALO])


def _draw_scale(axes: Axes, width_mm: float, height_mm: float) -> None:
    """A bar of a round length at the lower left, if the plane is wide enough for the shortest."""
    length_mm = next((length for length in _SCALES_MM if length < width_mm / 3), None)
    if length_mm is None:
        return
    left, level = 0.03 * width_mm, height_mm - 0.02 * width_mm
    bar = axes.plot([left, left + length_mm], [level, level], color=_INK, linewidth=2, solid_capstyle="butt")
    text = axes.annotate(f"{length_mm // 10} cm", (left, level), (0, 3), textcoords="offset points")
    _style(text, 8)
    for artist in (*bar, text):
        artist.set_path_effects([_HALO])


def _outline(axes: Axes, mask: np.ndarray, spacing_mm: tuple[float, float], color: str | tuple[float, ...]) -> None:
    """The border of a mask; background is put around it, so that it closes where the scan ends."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    first, last = (rows[0], columns[0]), (rows[-1] + 1, columns[-1] + 1)
    padded = np.pad(mask[first[0] : last[0], first[1] : last[1]].astype(float), 1)
    y, x = ((np.arange(n) + start - 0.5) * mm for n, start, mm in zip(padded.shape, first, spacing_mm, strict=True))
    lines = axes.contour(x, y, padded, levels=[0.5], colors=[color], linewidths=1.4)
    lines.set_path_effects([withStroke(linewidth=2.4, foreground="black", alpha=0.6)])


def _draw_legend(axes: Axes, entries: Sequence[Entry], rows: float) -> None:
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(rows, 0)
    found = [entry for entry in entries if entry.volume_ml > 0]
    absent = [entry.organ.title for entry in entries if entry.volume_ml == 0]
    listed = found
    if len(found) > _MOST_ROWS:
        listed = sorted(found, key=lambda entry: -entry.volume_ml)[:_MOST_ROWS]
    for row, entry in enumerate(listed):
        axes.plot([0.05, 0.11], [row + 0.5] * 2, color=[c / 255 for c in entry.organ.color], linewidth=4)
        _style(axes.text(0.15, row + 0.5, _shortened(entry.organ.title, 30), va="center"), 9)
        _style(axes.text(1, row + 0.5, _millilitres(entry.volume_ml), va="center", ha="right"), 9)
    notes = [f"and {len(found) - len(listed)} more"] if len(listed) < len(found) else []
    notes += [] if found else ["No organ found"]
    notes += [f"Not found: {', '.join(absent)}"] if absent else []
    for number, note in enumerate(notes):
        _style(axes.text(0.05, len(listed) + 0.5 + number, _wrapped(note, 42, 6), va="top"), 8, _DIM)


def _style(text: Text, size: float, color: str = _INK) -> None:
    """Use the font that comes with matplotlib, and show the characters as they are, ``$`` too."""
    text.set(fontproperties=FontProperties(fname=_FONT, size=size), color=color, parse_math=False, usetex=False)


def _millilitres(volume: float) -> str:
    return f"{volume:.0f} ml" if volume >= 100 else f"{volume:.1f} ml" if volume >= 1 else f"{volume:.2g} ml"


def _wrapped(text: str, width: int, lines: int) -> str:
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" ..."))


def _shortened(text: str, width: int) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text)
    return printable if len(printable) <= width else printable[: width - 3] + "..."
