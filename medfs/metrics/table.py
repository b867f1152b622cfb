"""Scores and summaries as text and as rows for CSV and JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from medfs.errors import UsageError
from medfs.metrics.conventions import DISTANCES, find_convention
from medfs.metrics.score import OrganScore
from medfs.metrics.summary import OrganSummary, Statistic, Summary

Cell = str | int | float | None

_TITLES = {
    "dice": "Dice",
    "iou": "IoU",
    "hd95_mm": "HD95",
    "hd95_pooled_mm": "pooled HD95",
    "asd_mm": "ASD",
    "asd_pred_to_ref_mm": "ASD prediction to reference",
    "nsd": "NSD",
}


def format_table(summary: Summary, metrics: Sequence[str] | None = None) -> str:
    """Write a summary as a Markdown table that reads well as plain text.

    Each mean carries its counts, ``mean ± sd (used/total/missed)``, and the foot names the convention.

    Args:
        summary: What to write.
        metrics: Columns, by default every metric that the convention defines.

    Raises:
        UsageError: A column is no metric of the convention.
    """
    columns = tuple(metrics) if metrics is not None else tuple(summary.overall)
    unknown = [column for column in columns if column not in summary.overall]
    if unknown:
        raise UsageError(f"{unknown[0]} is no metric of {summary.convention}; expected {', '.join(summary.overall)}")
    rule = find_convention(summary.convention)
    header = ["organ", *(_title(column, rule.distance_unit) for column in columns), "missed", "false positives"]
    body = [
        [organ.organ, *(_cell(organ.metrics[column]) for column in columns), *_counts(organ)]
        for organ in summary.organs
    ]
    n_missed = sum(organ.n_missed for organ in summary.organs)
    n_false = sum(organ.n_false_positive for organ in summary.organs)
    overall = [_cell(summary.overall[column]) for column in columns]
    body.append(["mean of organs", *overall, str(n_missed), str(n_false)])
    foot = (
        f"mean ± sd (cases used/total/missed; last row: organs used/total, cases missed). {rule.name}: {rule.summary}."
    )
    if "nsd" in columns:
        foot += f" NSD at {_tolerances(summary)}."
    return "\n".join([*_aligned([header, *body]), "", foot])


def _title(metric: str, distance_unit: str) -> str:
    return f"{_TITLES[metric]} [{distance_unit}]" if metric in DISTANCES else _TITLES[metric]


def _cell(statistic: Statistic) -> str:
    counts = f"({statistic.n_used}/{statistic.n_total}/{statistic.n_missed})"
    if not statistic.n_used:
        return f"- {counts}"
    sd = "" if math.isnan(statistic.sd) else f" ± {statistic.sd:.3f}"
    return f"{statistic.mean:.3f}{sd} {counts}"


def _counts(organ: OrganSummary) -> tuple[str, str]:
    n_absent = organ.n_both_empty + organ.n_false_positive
    n_present = organ.n_total - n_absent
    return f"{organ.n_missed} of {n_present}", f"{organ.n_false_positive} of {n_absent}"


def _tolerances(summary: Summary) -> str:
    tolerances = {organ.organ: organ.nsd_tolerance_mm for organ in summary.organs}
    if len(set(tolerances.values())) == 1:
        return f"{summary.organs[0].nsd_tolerance_mm:g} mm"
    return ", ".join(f"{value:g} mm for {organ}" for organ, value in tolerances.items())


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def score_rows(scores: Sequence[OrganScore]) -> list[dict[str, Cell]]:
    """Turn scores into rows that CSV and strict JSON both hold.

    A number that does not exist becomes ``None``, an infinite distance the text ``inf``. Under a convention that counts
    distances in voxels the columns end in ``_voxel`` instead of ``_mm``.

    Args:
        scores: Rows of one convention.
    """
    return [
        {_column(name, score.convention): _plain(value) for name, value in asdict(score).items()} for score in scores
    ]


def summary_rows(summary: Summary) -> list[dict[str, Cell]]:
    """Turn a summary into one row per organ and metric; the overall means have ``None`` as organ.

    Numbers are written as in :func:`score_rows`.

    Args:
        summary: What to write.
    """
    groups: list[tuple[str | None, Mapping[str, Statistic]]] = [(row.organ, row.metrics) for row in summary.organs]
    groups.append((None, summary.overall))
    rows = []
    for organ, metrics in groups:
        for metric, statistic in metrics.items():
            row: dict[str, Cell] = {"convention": summary.convention, "organ": organ}
            row["metric"] = _column(metric, summary.convention)
            row.update({name: _plain(value) for name, value in asdict(statistic).items()})
            rows.append(row)
    return rows


def _column(name: str, convention: str) -> str:
    unit = find_convention(convention).distance_unit
    return f"{name.removesuffix('_mm')}_{unit}" if name in DISTANCES else name


def _plain(value: Cell) -> Cell:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return str(value) if isinstance(value, str) else value
