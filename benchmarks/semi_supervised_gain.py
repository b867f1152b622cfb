"""What a method gains on each organ, against the organ's size and the complexity of its shape.

    python -m benchmarks.semi_supervised_gain OUT DATA --first TAK --second supervised --picture gain.png

OUT is what `medfs bench semi-supervised DATA -o OUT` left, DATA its dataset. Prints a row for each organ and the rank
correlations over organs, and draws both plots. Complexity is 1 minus the share of the convex hull that the organ fills:
0 for a ball or a box.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.spatial import ConvexHull, QhullError
from scipy.stats import spearmanr

from medfs.inference.comparison_table import mean
from medfs.io import Split, find_cases, read_labels

_LEAST_ORGANS = 4  # fewer say nothing about a trend


def complexity(mask: np.ndarray, spacing_mm: tuple[float, ...]) -> float:
    """1 - volume / volume of the convex hull of the voxels' corners; not a number for an empty mask."""
    voxels = np.argwhere(mask)
    if not len(voxels):
        return float("nan")
    corners = np.unique((voxels[:, None] + np.indices((2, 2, 2)).reshape(3, -1).T).reshape(-1, 3), axis=0)
    try:
        hull = ConvexHull(corners * spacing_mm).volume
    except QhullError:
        return float("nan")
    return 1 - len(voxels) * float(np.prod(spacing_mm)) / hull


def scores(out: Path, labelled: int, arm: str) -> list[dict]:
    """Rows of all seeds of an arm."""
    slug = "_".join("".join(letter if letter.isalnum() else " " for letter in arm).split())
    files = sorted((out / f"labelled_{labelled}").glob(f"seed_*/{slug}/result.json"))
    if not files:
        raise SystemExit(f"{out}: no result of {arm!r} with {labelled} labelled cases; run medfs bench first")
    return [row for path in files for row in json.loads(path.read_text())["scores"]]


def shapes(options: argparse.Namespace, names: list[str]) -> dict[str, float]:
    """Mean complexity of each organ over the test cases."""
    run = next((options.out / f"labelled_{options.labelled}").glob("seed_*/*/split.json"))
    test = {case.name for case in Split.read(run).test}
    found: dict[str, list[float]] = {name: [] for name in names}
    for case in find_cases(options.data):
        if case.name in test and case.label:
            labels = read_labels(case.label)
            for value, name in enumerate(names, start=1):
                found[name].append(complexity(labels.array == value, labels.spacing_mm))
    return {name: mean(values) for name, values in found.items()}


def draw(path: Path, organs: list[dict], title: str) -> None:
    figure = Figure(figsize=(10, 4.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    for axes, (key, label) in zip(
        figure.subplots(1, 2, sharey=True),
        [("volume_ml", "mean volume, ml"), ("complexity", "complexity of shape (1 - share of convex hull)")],
        strict=True,
    ):
        axes.axhline(0, color="0.6", linewidth=1)
        axes.plot([organ[key] for organ in organs], [organ["gain"] for organ in organs], "o", color="#0b6fa4")
        for organ in organs:
            axes.annotate(
                organ["name"].replace("_", " "),
                (organ[key], organ["gain"]),
                (4, 3),
                textcoords="offset points",
                fontsize=7,
            )
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    figure.axes[0].set_xscale("log")
    figure.axes[0].set_ylabel("gain in Dice")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--first", default="TAK")
    parser.add_argument("--second", default="supervised")
    parser.add_argument("--labelled", type=int, default=4)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    first, second = (scores(options.out, options.labelled, arm) for arm in (options.first, options.second))
    names = list(dict.fromkeys(row["organ"] for row in second))
    shape = shapes(options, names)
    organs = []
    for name in names:
        mine, other = ([row for row in rows if row["organ"] == name] for rows in (first, second))
        dice = [mean(row["dice"] for row in rows) for rows in (mine, other)]
        volume = mean(row["ref_volume_ml"] for row in other)
        organs.append(
            {"name": name, "volume_ml": volume, "complexity": shape[name], "dice": dice[1], "gain": dice[0] - dice[1]}
        )
    print(f"| organ | volume ml | complexity | Dice, {options.second} | gain of {options.first} |")
    print("|---|--:|--:|--:|--:|")
    for organ in sorted(organs, key=lambda organ: -organ["volume_ml"]):
        print(
            f"| {organ['name'].replace('_', ' ')} | {organ['volume_ml']:.1f} | {organ['complexity']:.2f} | "
            f"{organ['dice']:.3f} | {organ['gain']:+.3f} |"
        )
    if len(organs) >= _LEAST_ORGANS:
        for key in ("volume_ml", "complexity", "dice"):
            rank, p = spearmanr([organ[key] for organ in organs], [organ["gain"] for organ in organs])
            print(f"\nSpearman's rank correlation of gain and {key}: {rank:+.2f} (p = {p:.2f}, {len(organs)} organs)")
    if options.picture:
        draw(options.picture, organs, f"{options.first} against {options.second}, {options.labelled} labelled cases")


if __name__ == "__main__":
    main()
