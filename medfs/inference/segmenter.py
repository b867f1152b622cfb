"""A trained bundle as a function from a volume to labels on the same grid."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.transforms import Compose, LoadImaged
from monai.utils import ensure_tuple_rep
from torch import Tensor

import medfs
from medfs.anatomy import LabelSet, custom_label_set, find_organ, nameless_label_set
from medfs.engines.handlers import best_network
from medfs.engines.runs import VALUES_FILE, load_weights, read_values
from medfs.engines.trust import INFERENCE_FILES, require_trusted
from medfs.errors import InputError, UsageError, root_cause
from medfs.inference.ladder import Ladder
from medfs.inference.native_grid import labels_of_blocks
from medfs.inference.window_blocks import window_blocks
from medfs.io import Volume, file_sha256
from medfs.io.bundles import find_bundle
from medfs.io.datasets import read_json
from medfs.networks import PlainVNet, TextFusion, TextVNet
from medfs.text import TextPrior
from medfs.transforms import argmax_on_grid


class Segmenter:
    """Preprocessing, network and way back of a finished training run.

    The run contributes weights and plain values only; the code that runs is that of the installed bundle it was
    trained from. A folder whose configuration holds other code is refused, see :mod:`medfs.engines.trust`.

    Args:
        run: folder of a finished run.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        text_prior: another text prior, made by the same encoder with the same kinds of text; background comes first.
        trust: run the folder's own ``configs/inference.json``, whatever it does; the folder may then be any MONAI
            bundle with ``preprocessing``, ``inferer`` and ``network_def``, its channels named in the metadata.

    Raises:
        InputError: the folder is no finished run or its files are damaged.
        UsageError: the device does not exist, the text prior does not fit, or the folder holds code of its own.
    """

    def __init__(
        self, run: str | Path, *, device: str = "auto", text_prior: str | Path | None = None, trust: bool = False
    ) -> None:
        self.run = Path(run)
        values = {} if trust and not (self.run / VALUES_FILE).exists() else read_values(self.run)
        if not trust:
            require_trusted(self.run, values["bundle"], INFERENCE_FILES)
        self.device = pick_device(device)
        configs = self.run / "configs" if trust else find_bundle(values["bundle"]) / "configs"
        parser = ConfigParser()
        parser.read_config(configs / "inference.json")
        known = cast(dict[str, Any], parser.config)
        parser.update({key: value for key, value in values.items() if key in known and key != "bundle"})
        parser.update({"bundle_root": str(self.run), "device": self.device})
        loading = self._parsed(parser, "preprocessing")
        self.preprocessing = Compose([step for step in loading.transforms if not isinstance(step, LoadImaged)])
        self.inferer: SlidingWindowInferer = self._parsed(parser, "inferer")
        self.ladder = Ladder(self._rungs())
        self.label_set: LabelSet = self._parsed(parser, "label_set") if "label_set" in known else self._channels()
        self.network: TextVNet | PlainVNet = self._parsed(parser, "network_def")
        weights = [self.run / "models" / "model.pt"]
        if text_prior is None:
            load_weights(self.network, self.run / "models" / "model.pt")
        else:
            weights = [self.run / "checkpoints" / "best.pt", self.run / "text_prior.safetensors", Path(text_prior)]
            self.network, self.label_set = self._with_prior(Path(text_prior), values)
        self.network.to(self.device).eval()
        self._hashes = [file_sha256(path) for path in (*weights, configs / "inference.json")]
        self._values = values

    def _channels(self) -> LabelSet:
        """The classes as the metadata of a bundle name them."""
        path = self.run / "configs" / "metadata.json"
        try:
            names = read_json(path)["network_data_format"]["outputs"]["pred"]["channel_def"]
            return custom_label_set([str(names[value]) for value in sorted(names, key=int)])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: names no channels of the output; expected channel_def of pred") from error
        except UsageError:  # classes that the table of organs does not have
            return nameless_label_set(len(names) - 1)

    def _parsed(self, parser: ConfigParser, part: str) -> Any:
        """A part of the bundle built with the values of the run."""
        try:
            return parser.get_parsed_content(part)
        except RuntimeError as error:
            raise InputError(f"{self.run / VALUES_FILE}: a value cannot be used: {root_cause(error)}") from error

    def _with_prior(self, path: Path, values: dict[str, Any]) -> tuple[TextVNet, LabelSet]:
        """The trained text path with another prior, deployed, and the classes of that prior."""
        if values.get("output_layer") == "plain":
            raise UsageError(f"{self.run}: was trained without texts; leave --text-prior out")
        trained, swapped = TextPrior.load(self.run / "text_prior.safetensors"), TextPrior.load(path)
        trained.check_compatible(swapped)
        if swapped.names[0] != trained.names[0]:
            raise UsageError(f"{path}: starts with {swapped.names[0]}; expected {trained.names[0]}, the label value 0")
        fusion = TextFusion(trained, trained.names)
        network = TextVNet(fusion, filters=values["filters"], levels=values["levels"])
        best_network(self.run / "checkpoints", network, values.get("deployed", "teacher"))
        fusion.prior, fusion.names = swapped, tuple(swapped.names)
        return network.eval().deploy(), custom_label_set(swapped.names)

    @property
    def parameters(self) -> dict[str, Any]:
        """What the labels depend on besides the scan: hashes of weights and configuration, and the version of medfs."""
        return {"network": self._hashes, "values": self._values, "medfs": medfs.__version__}

    @property
    def geometry(self) -> tuple[list[float] | None, list[int], int]:
        """Spacing of the working grid if it is known, sizes of a window, channels of the first stage."""
        spacing, filters = self._values.get("spacing_mm"), self._values.get("filters", 16)
        return spacing, [max(1, int(n)) for n in ensure_tuple_rep(self.inferer.roi_size, 3)], int(filters)

    def __call__(self, volume: Volume) -> np.ndarray:
        """Labels (X, Y, Z) of a volume on its own grid.

        Where memory does not suffice, ways that take less of it are tried; ``ladder.rung`` says which one it was.

        Raises:
            InputError: none of them suffices.
        """
        meta = {
            "original_affine": volume.affine,
            "spatial_shape": np.asarray(volume.array.shape),
            "original_channel_dim": "no_channel",
            "filename_or_obj": str(volume.path),
        }
        tensor = MetaTensor(torch.from_numpy(volume.array), affine=torch.from_numpy(volume.affine), meta=meta)
        with torch.inference_mode():
            image = self.preprocessing({"image": tensor})["image"]
            affine = np.asarray(image.affine, dtype=np.float64)
            return self.ladder(image.as_tensor()[None], affine, volume)

    def _rungs(self) -> list[tuple[str, Callable[..., np.ndarray]]]:
        """From the fastest way to the one that takes least memory; all give the same labels, but for ties."""
        here, processor = self.device, torch.device("cpu")
        rungs: list[tuple[str, Callable[..., np.ndarray]]] = [("", partial(self._at_once, scores=here))]
        if here.type != "cpu":
            rungs.append(("scores on the processor", partial(self._at_once, scores=processor)))
        rungs.append(("one window at a time", partial(self._at_once, scores=processor, windows=1)))
        rungs.append(("layer by layer", partial(self._by_layers, device=here)))
        if here.type != "cpu":
            rungs.append(("network on the processor", partial(self._by_layers, device=processor)))
        return rungs

    def _at_once(
        self, image: Tensor, affine: np.ndarray, volume: Volume, *, scores: torch.device, windows: int | None = None
    ) -> np.ndarray:
        inferer = copy.copy(self.inferer)
        inferer.device, inferer.sw_device = scores, self.device
        inferer.sw_batch_size = windows or inferer.sw_batch_size
        logits = inferer(image.to(scores), self.network)[0]
        return argmax_on_grid(logits, affine, volume.array.shape, volume.affine).numpy(force=True)

    def _by_layers(self, image: Tensor, affine: np.ndarray, volume: Volume, *, device: torch.device) -> np.ndarray:
        try:
            blocks = window_blocks(image.cpu(), self.network.to(device), self.inferer, device)
            return labels_of_blocks(blocks, image.shape[-1], affine, volume.array.shape, volume.affine)[0]
        finally:
            self.network.to(self.device)


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
