"""From the specification of an encoder to the encoder, with the packages it needs imported quietly."""

import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from medfs.errors import UsageError
from medfs.text.encoders.base import TextEncoder
from medfs.text.encoders.open_clip_models import OpenClipEncoder
from medfs.text.encoders.transformers_folder import TransformersEncoder

_FORMS = "open_clip:MODEL/WEIGHTS, open_clip:local-dir:FOLDER, open_clip:hf-hub:OWNER/NAME or transformers:FOLDER"


def load_encoder(spec: str) -> TextEncoder:
    """Load the encoder that a specification names.

    Args:
        spec: ``open_clip:ViT-B-32/laion2b_s34b_b79k`` (a model and its weights by name, taken from the cache or
            downloaded), ``open_clip:local-dir:FOLDER`` (``open_clip_config.json`` and weights),
            ``open_clip:hf-hub:OWNER/NAME``, or ``transformers:FOLDER`` (a model folder with its tokenizer; mean or
            first token where ``1_Pooling/config.json`` says so, otherwise the model's pooled or projected output).

    Raises:
        UsageError: The specification has another form, or the model cannot give one vector per text.
        InputError: Folder or weights are missing, or cannot be read.
    """
    family, _, rest = spec.partition(":")
    if not rest or family not in {"open_clip", "transformers"}:
        raise UsageError(f"encoder {spec!r}: unknown; expected {_FORMS}")
    import_torchvision()
    with _quiet():
        return TransformersEncoder(Path(rest).expanduser()) if family == "transformers" else OpenClipEncoder(rest)


def import_torchvision() -> None:
    """Import torchvision, which open_clip and transformers need, also beside a torch it was not built for.

    A torchvision built for CUDA beside a torch for the CPU cannot load its compiled operators and then stops at
    ``operator torchvision::nms does not exist``. What the import misses are the declarations of two operators, and text
    encoders call neither, so they are declared without an implementation and the import is repeated. Code that calls
    them still fails and says so. Without any torchvision nothing is done. The lasting remedy is a matching pair of
    wheels.
    """
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return
    except RuntimeError as error:
        if "torchvision::" not in str(error) or "does not exist" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, operator):
                schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                torch.library.define(f"torchvision::{operator}", schema)
        importlib.import_module("torchvision")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the loaders' logs and progress bars from the terminal; what matters comes as an error."""
    from transformers.utils import logging as transformers_logging

    before, bars = logging.root.manager.disable, transformers_logging.is_progress_bar_enabled()
    logging.disable(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.disable(before)
        if bars:
            transformers_logging.enable_progress_bar()
