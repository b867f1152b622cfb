"""A trained bundle as a function from a volume to labels on the same grid."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImaged

from medfs.anatomy import LabelSet, custom_label_set, find_organ
from medfs.engines.handlers import best_network
from medfs.engines.runs import VALUES_FILE, load_weights, read_values
from medfs.errors import InputError, UsageError, root_cause
from medfs.io import Volume
from medfs.io.bundles import find_bundle
from medfs.networks import TextFusion, TextVNet
from medfs.text import TextPrior
from medfs.transforms import argmax_on_grid


class Segmenter:
    """Preprocessing, network and way back of a finished training run.

    The run contributes weights and plain values only; the code that runs is that of the installed bundle it was
    trained from.

    Args:
        run: folder of a finished run.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        text_prior: another text prior, made by the same encoder with the same kinds of text; background comes first.

    Raises:
        InputError: the folder is no finished run or its files are damaged.
        UsageError: the device does not exist, or the text prior does not fit.
    """

    def __init__(self, run: str | Path, *, device: str = "auto", text_prior: str | Path | None = None) -> None:
        self.run = Path(run)
        values = read_values(self.run)
        self.device = pick_device(device)
        parser = ConfigParser()
        parser.read_config(find_bundle(values.pop("bundle")) / "configs" / "inference.json")
        known = cast(dict[str, Any], parser.config)
        parser.update({key: value for key, value in values.items() if key in known})
        parser.update({"bundle_root": str(self.run), "device": self.device})
        loading = self._parsed(parser, "preprocessing")
        self.preprocessing = Compose([step for step in loading.transforms if not isinstance(step, LoadImaged)])
        self.inferer = self._parsed(parser, "inferer")
        self.label_set: LabelSet = self._parsed(parser, "label_set")
        self.network: TextVNet = self._parsed(parser, "network_def")
        if text_prior is None:
            load_weights(self.network, self.run / "models" / "model.pt")
        else:
            self.network, self.label_set = self._with_prior(Path(text_prior), values)
        self.network.to(self.device).eval()

    def _parsed(self, parser: ConfigParser, part: str) -> Any:
        """A part of the bundle built with the values of the run."""
        try:
            return parser.get_parsed_content(part)
        except RuntimeError as error:
            raise InputError(f"{self.run / VALUES_FILE}: a value cannot be used: {root_cause(error)}") from error

    def _with_prior(self, path: Path, values: dict[str, Any]) -> tuple[TextVNet, LabelSet]:
        """The trained text path with another prior, deployed, and the classes of that prior."""
        trained, swapped = TextPrior.load(self.run / "text_prior.safetensors"), TextPrior.load(path)
        trained.check_compatible(swapped)
        if swapped.names[0] != trained.names[0]:
            raise UsageError(f"{path}: starts with {swapped.names[0]}; expected {trained.names[0]}, the label value 0")
        fusion = TextFusion(trained, trained.names)
        network = TextVNet(fusion, filters=values["filters"], levels=values["levels"])
        best_network(self.run / "checkpoints", network)
        fusion.prior, fusion.names = swapped, tuple(swapped.names)
        return network.eval().deploy(), custom_label_set(swapped.names)

    @torch.inference_mode()
    def __call__(self, volume: Volume) -> np.ndarray:
        """Labels (X, Y, Z) of a volume on its own grid."""
        meta = {
            "original_affine": volume.affine,
            "spatial_shape": np.asarray(volume.array.shape),
            "original_channel_dim": "no_channel",
            "filename_or_obj": str(volume.path),
        }
        tensor = MetaTensor(torch.from_numpy(volume.array), affine=torch.from_numpy(volume.affine), meta=meta)
        image = self.preprocessing({"image": tensor})["image"]
        logits = self.inferer(image[None].to(self.device), self.network)[0]
        affine = np.asarray(image.affine, dtype=np.float64)
        labels = argmax_on_grid(torch.as_tensor(logits), affine, volume.array.shape, volume.affine)
        return labels.numpy(force=True)


class Restricted:
    """A segmenter that keeps some organs only; every other label becomes background.

    Args:
        segmenter: gives all organs.
        names: organs to keep, in any spelling `medfs.anatomy.find_organ` knows.

    Raises:
        UsageError: an organ is not among those the segmenter knows.
    """

    def __init__(self, segmenter: Segmenter, names: Sequence[str]) -> None:
        known = segmenter.label_set.names
        wanted = [find_organ(name).name for name in names]
        if missing := [name for name in wanted if name not in known]:
            raise UsageError(f"this run does not know {', '.join(missing)}; it knows {', '.join(known[1:])}")
        self.segmenter, self.label_set = segmenter, segmenter.label_set
        self.values = [known.index(name) for name in wanted]

    def __call__(self, volume: Volume) -> np.ndarray:
        """Labels (X, Y, Z) of the kept organs."""
        labels = self.segmenter(volume)
        return np.where(np.isin(labels, self.values), labels, 0).astype(labels.dtype)


def pick_device(name: str) -> torch.device:
    """The device a user names; ``auto`` is the GPU if there is one.

    Raises:
        UsageError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"no device {name!r} here; expected auto, cpu, cuda, cuda:N or mps") from error
    return device
