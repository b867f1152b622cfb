"""What a comparison of trainings says: means over cases and seeds, and paired tests."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from medfs.metrics import OrganScore, holm, paired_difference

_METRICS = {"dice": ("Dice", 3), "asd_mm": ("ASD mm", 2), "hd95_mm": ("HD95 mm", 2), "nsd": ("NSD", 3)}

Seeds = Mapping[int, "Result"]
Results = Mapping[tuple[int, str], Seeds]


@dataclass(frozen=True)
class Result:
    """One arm with one seed.

    Attributes:
        scores: of every test case and organ.
        wall_seconds: of the whole training, from loading to export, by its steps; not a number where it was not
            measured in one piece.
    """

    scores: tuple[OrganScore, ...]
    wall_seconds: float

    def by_case(self, metric: str = "dice") -> dict[str, float]:
        """Mean over the organs that have a value, by case; an infinite distance counts as the image's diagonal."""
        values: dict[str, list[float]] = {}
        for row in self.scores:
            value = getattr(row, metric)
            values.setdefault(row.case, []).append(row.diagonal_mm if math.isinf(value) else value)
        return {case: mean(found) for case, found in values.items()}

    def by_organ(self, metric: str = "dice") -> dict[str, float]:
        """Mean over the cases that have a value, by organ."""
        organs = dict.fromkeys(row.organ for row in self.scores)
        return {organ: mean(getattr(row, metric) for row in self.scores if row.organ == organ) for organ in organs}


def mean(values: Iterable[float]) -> float:
    """Of the finite values; not a number if there is none."""
    used = [value for value in values if math.isfinite(value)]
    return fmean(used) if used else math.nan


def comparison_table(
    results: Results, compared: Callable[[Sequence[str]], Sequence[tuple[str, str]]], failures: Sequence[str] = ()
) -> str:
    """Write results as Markdown, one pair of tables for each number of labelled cases.

    The mean of a metric is over test cases, then over the seeds that an arm has; the deviation is that of the seeds'
    means. The tests are paired over test cases, each averaged over the seeds that both arms have, and adjusted for
    their number; arms without a seed in common are not tested.

    Args:
        results: by number of labelled cases and arm, then by seed.
        compared: gives the pairs to test among the names of arms.
        failures: runs that gave no result.
    """
    lines: list[str] = []
    for labelled in dict.fromkeys(number for number, _ in results):
        arms = {name: seeds for (number, name), seeds in results.items() if number == labelled}
        lines += [f"**Labelled cases: {labelled}**", "", *_means(arms), "", *_tests(arms, compared(list(arms))), ""]
    if failures:
        lines += ["Failed:", "", *(f"- {failure}" for failure in failures), ""]
    return "\n".join(lines)


def _means(arms: Mapping[str, Seeds]) -> list[str]:
    organs = list(next(iter(next(iter(arms.values())).values())).by_organ())
    titles = [title for title, _ in _METRICS.values()]
    columns = ["arm", *titles, *(f"Dice {organ.replace('_', ' ')}" for organ in organs), "seeds", "n", "wall s/step"]
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for name, by_seed in arms.items():
        seeds = list(by_seed.values())
        cells = [
            _spread([mean(seed.by_case(metric).values()) for seed in seeds], _METRICS[metric][1]) for metric in _METRICS
        ]
        cells += [f"{mean(seed.by_organ()[organ] for seed in seeds):.3f}" for organ in organs]
        seconds = mean(seed.wall_seconds for seed in seeds)
        cases = len(seeds[0].by_case())
        cells += [str(len(seeds)), str(cases), "-" if math.isnan(seconds) else f"{seconds:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _spread(values: Sequence[float], digits: int) -> str:
    deviation = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{deviation}"


def _tests(arms: Mapping[str, Seeds], pairs: Sequence[tuple[str, str]]) -> list[str]:
    common = {pair: sorted(arms[pair[0]].keys() & arms[pair[1]].keys()) for pair in pairs}
    common = {pair: seeds for pair, seeds in common.items() if seeds}
    if not common:
        return []
    found = [paired_difference(*(_averaged(arms[arm], seeds) for arm in pair)) for pair, seeds in common.items()]
    adjusted = holm([difference.p for difference in found])
    columns = ["Dice, paired over cases", "seeds", "difference", "better / worse", "Wilcoxon p", "Holm p"]
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for ((first, second), seeds), difference, p in zip(common.items(), found, adjusted, strict=True):
        counts = f"{difference.better} / {difference.worse} of {difference.n}"
        numbers = f"{len(seeds)} | {difference.mean:+.4f} | {counts} | {difference.p:.2g} | {p:.2g}"
        lines.append(f"| {first} against {second} | {numbers} |")
    return lines


def _averaged(arm: Seeds, seeds: Sequence[int]) -> dict[str, float]:
    """Dice by case, mean over some seeds."""
    cases = [arm[seed].by_case() for seed in seeds]
    return {case: mean(values[case] for values in cases) for case in cases[0]}
