"""From a dataset folder to the episodes of a training run; from a trained network to a run folder and its scores."""

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from medfs.anatomy import LabelSet, find_organ
from medfs.errors import UsageError
from medfs.fewshot import (
    EpisodeBatches,
    EpisodeCase,
    EpisodeDataset,
    Exclusion,
    FewShotProtocol,
    FewShotScore,
    FewShotSegmentor,
    NetworkSegmenter,
    SupportedSegmentor,
    SupportedVolumes,
    VolumeSegmenter,
    find_objects,
    prepare_case,
    save_segmentor,
)
from medfs.fewshot.positions import organ_slices
from medfs.fewshot.protocol import protocol_rows, summarise_rule
from medfs.fewshot.rules import WholeSupport, WholeSupportInRange
from medfs.fewshot.segmenters import ScanSegmenter
from medfs.fewshot.storage import described_part
from medfs.io import atomic_path, find_cases, make_folder
from medfs.io.folds import PublishedFolds, Support
from medfs.io.splits import require_distinct_voxels
from medfs.metrics import format_table, summary_rows


def folder_protocol(
    dataset_dir: str | Path,
    label_set: LabelSet,
    *,
    fold_length: int,
    organs: Sequence[str] = (),
    exclude: Sequence[str] = (),
    exclusion_rule: Literal["any", "all"] = "any",
    support: Support = "last",
    seed: int = 0,
) -> FewShotProtocol:
    """The protocol of a dataset folder: consecutive folds over its labelled cases.

    Args:
        dataset_dir: folder with ``images/`` and ``labels/``.
        label_set: the meaning of the label values.
        fold_length: queries of a fold; published: 4 for CHAOST2, 6 for SABS, 7 for CMR.
        organs: names of the tested organs; empty for all.
        exclude: organs that training must not see (Setting 2). They are then the tested ones.
        exclusion_rule: the policy of :class:`~medfs.fewshot.Exclusion`; ``"all"`` is that of some releases.
        support: see :meth:`~medfs.io.folds.PublishedFolds.pairs`.
        seed: of the training.

    Raises:
        UsageError: an organ is not in the label set, there is no such rule, or there are too few cases.
    """
    names = [case.name for case in find_cases(dataset_dir) if case.label is not None]
    values = {name: value for value, name in enumerate(label_set.names) if value}
    tested = [find_organ(name).name for name in (exclude or organs or values)]
    if unknown := [name for name in tested if name not in values]:
        raise UsageError(f"{unknown[0]}: not in the label set; expected some of {', '.join(values)}")
    return FewShotProtocol(
        PublishedFolds.of_names(names, fold_length),
        {values[name]: name for name in tested},
        support=support,
        exclusion=Exclusion(tuple(values[name] for name in tested) if exclude else (), exclusion_rule),
        seed=seed,
    )


def training_cases(
    dataset_dir: str | Path, supervoxels_dir: str | Path, cache_dir: str | Path, protocol: FewShotProtocol, fold: int
) -> list[EpisodeCase]:
    """The cases that training may see, with their supervoxels; those without supervoxels are left out.

    Where organs are excluded, cases without a label map are left out too.

    Raises:
        UsageError: nobody is left for training.
        InputError: a file is damaged, an image of the fold is among those of training, perhaps renamed or flipped, or
            there are no supervoxels.
    """
    everyone = find_cases(dataset_dir)
    cases = protocol.training(everyone, fold)
    tested = protocol.folds.named()[fold]
    require_distinct_voxels({"training": cases, f"fold {fold}": [case for case in everyone if case.name in tested]})
    if protocol.exclusion.organs:
        outside, cases = len(cases), [case for case in cases if case.label is not None]
        if not cases:
            raise UsageError(
                f"fold {fold}: none of the {outside} cases for training has a label map; expected some, to leave out "
                "the slices that show an excluded organ"
            )
    found = find_objects(cases, supervoxels_dir)
    return [prepare_case(case, found[case.name], cache_dir) for case in cases if case.name in found]


def episode_batches(dataset: EpisodeDataset, **options: Any) -> EpisodeBatches:
    """`EpisodeBatches` for this process of a run, distributed or not."""
    together = dist.is_initialized()
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)
    return EpisodeBatches(dataset, rank=rank, ranks=ranks, **options)


def evaluate_fold(
    segmentor: FewShotSegmentor,
    protocol: FewShotProtocol,
    fold: int,
    *,
    dataset_dir: str | Path,
    cache_dir: str | Path,
    output_dir: str | Path,
    size: int | None = None,
    device: torch.device | str = "cpu",
) -> list[FewShotScore]:
    """Test a network on a fold under every rule of the protocol, and write ``scores.csv`` and a summary of each rule.

    A network for volumes is tested under the rules for volumes, whatever those of the protocol are.

    Raises:
        UsageError: a case of the fold is missing or has no label map, or no support of the fold shows a tested organ.
        StorageError: the tables cannot be written.
    """
    tested = protocol.folds.named()[fold] if fold < len(protocol.folds.members) else []
    cases = [case for case in find_cases(dataset_dir) if case.label is not None and case.name in tested]
    prepared = [prepare_case(case, case.label, cache_dir) for case in cases if case.label is not None]
    segmenter: ScanSegmenter
    if segmentor.encoder.spatial_dims == 3:
        protocol = replace(protocol, rules=(WholeSupport(), WholeSupportInRange()))
        segmenter = VolumeSegmenter(segmentor, size=size, device=device)
    else:
        segmenter = NetworkSegmenter(segmentor, size=size, device=device)
    scores = protocol.evaluate(segmenter, prepared, fold)
    if not scores:
        supports = dict.fromkeys(support.name for support, _ in protocol.tests(prepared, fold))
        raise UsageError(
            f"fold {fold}: nothing to score, for {', '.join(supports)} as support shows none of "
            f"{', '.join(protocol.organs.values())}; expected at least one: choose another support, fold or organs"
        )
    write_protocol_scores(scores, output_dir)
    return scores


def write_protocol_scores(scores: Sequence[FewShotScore], output_dir: str | Path) -> None:
    """Write ``scores.csv``, ``summary.json`` and ``summary.md``, and print the last.

    Raises:
        StorageError: a file cannot be written.
    """
    output, rows = Path(output_dir), protocol_rows(scores)
    make_folder(output)
    rules = list(dict.fromkeys(row.rule for row in scores))
    summaries = {rule: summarise_rule(scores, rule) for rule in rules}
    tables = "\n\n".join(f"## {rule}\n\n{format_table(summary)}" for rule, summary in summaries.items())
    with atomic_path(output / "scores.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    content = [{"rule": rule, **row} for rule, summary in summaries.items() for row in summary_rows(summary)]
    _write(output / "summary.json", json.dumps(content, indent=2))
    _write(output / "summary.md", tables)
    print(tables)


def supported_network(
    segmentor: FewShotSegmentor,
    preprocessing: Callable[[dict[str, str]], Mapping[str, Tensor]],
    support_image: str | None,
    support_labels: str | None,
    organs: Sequence[str],
    size: int | None = None,
) -> SupportedSegmentor | SupportedVolumes:
    """A network with the middle slice of each organ of a labelled scan as its supports; for volumes, the whole scan.

    Args:
        segmentor: the network, with its weights.
        preprocessing: dictionary transform of ``image`` and ``label`` to (1, slices, rows, columns).
        support_image: file of the scan.
        support_labels: file of its label map.
        organs: names of its values from 1 on; plug-ins read texts about them.
        size: of the slices in training.

    Raises:
        UsageError: no support is given, or it lacks an organ.
    """
    if not support_image or not support_labels:
        raise UsageError("support_image and support_labels: not given; expected a scan and its label map")
    case = preprocessing({"image": support_image, "label": support_labels})
    image, labels = torch.as_tensor(case["image"][0]).float(), torch.as_tensor(case["label"][0])
    masks = [labels == value for value in range(1, len(organs) + 1)]
    shown = [organ_slices(mask.numpy()) for mask in masks]
    if missing := [value for value, slices in enumerate(shown, start=1) if not len(slices)]:
        raise UsageError(f"{support_labels}: no slice shows the label values {missing}; expected every organ")
    if segmentor.encoder.spatial_dims == 3:
        return SupportedVolumes(segmentor.eval(), image, torch.stack(masks), organs, size)
    middle = [int(slices[len(slices) // 2]) for slices in shown]
    pictures = torch.stack([image[place] for place in middle])[:, None, None]
    chosen = torch.stack([mask[place] for mask, place in zip(masks, middle, strict=True)])[:, None]
    return segmentor.eval().for_supports(pictures, chosen, organs, size)


def write_episodic_run(
    output_dir: str | Path,
    bundle_root: str | Path,
    segmentor: FewShotSegmentor,
    *,
    dataset_dir: str | Path | None = None,
    **values: Any,
) -> None:
    """Make a run folder a bundle of its own.

    Writes ``models/model.safetensors``, which says which network it holds and which `medfs fewshot` takes as a
    checkpoint, and the configurations of the bundle, with this network, its axes and the values of the run.

    Args:
        output_dir: folder of the run.
        bundle_root: the bundle that was trained; its other files are copied.
        segmentor: the trained network.
        dataset_dir: what it was trained on; entered as an absolute path, for segmenting that of its images.
        values: plain values by id, entered where a configuration has the id.

    Raises:
        StorageError: a file cannot be written.
    """
    output, source = Path(output_dir), Path(bundle_root)
    save_segmentor(output / "models" / "model.safetensors", segmentor)
    if source.resolve() != output.resolve():
        shutil.copytree(source / "configs", output / "configs", dirs_exist_ok=True)
        shutil.copytree(source / "docs", output / "docs", dirs_exist_ok=True)
        shutil.copy2(source / "LICENSE", output / "LICENSE")
    values |= {"encoder": _target("medfs.networks", segmentor.encoder)}
    values |= {"head": _target("medfs.fewshot.heads", segmentor.head)}
    for name, part in (("inference.json", "images"), ("evaluate.json", "")):
        content = json.loads((source / "configs" / name).read_text())
        if dataset_dir is not None:
            content["dataset_dir"] = str(Path(dataset_dir).resolve() / part)
        content |= {key: value for key, value in values.items() if key in content}
        _write(output / "configs" / name, json.dumps(content, indent=4))
    metadata = json.loads((source / "configs" / "metadata.json").read_text())
    for tensors in metadata["network_data_format"].values():
        for tensor in tensors.values():
            tensor["spatial_shape"] = tensor["spatial_shape"][:1] * segmentor.encoder.spatial_dims
    _write(output / "configs" / "metadata.json", json.dumps(metadata, indent=4))


def _target(package: str, module: torch.nn.Module) -> dict[str, Any]:
    part = described_part(module)
    return {"_target_": f"{package}.{part['name']}", **part["arguments"]}


def _write(path: Path, text: str) -> None:
    make_folder(path.parent)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", "utf-8")
