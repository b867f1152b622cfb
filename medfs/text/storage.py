"""Text priors as files and as a value of a ``state_dict``."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from medfs.errors import InputError, MedfsError
from medfs.io import atomic_path
from medfs.text.prompts import DEFAULT_KINDS
from medfs.text.provenance import Provenance

_METADATA_KEY = "medfs_text_prior"
# States of two priors have one shape, so `monai.networks.utils.copy_model_state`, which leaves out values whose shapes
# differ, copies vectors and provenance together.
_STATE_BLOCK = 1 << 16


def write_prior(path: Path, embedding: Tensor, provenance: Provenance) -> None:
    """Write vectors and provenance as one safetensors file.

    Raises:
        StorageError: The file cannot be written; nothing half-written is left.
    """
    with atomic_path(path) as part:
        vectors = {"embedding": embedding.detach().cpu().contiguous()}
        # Not `save_file`, which replaces the file by one that only its owner may read.
        part.write_bytes(save(vectors, metadata={_METADATA_KEY: provenance.to_json()}))


def read_prior(path: Path) -> tuple[Tensor, Provenance]:
    """Read what `write_prior` wrote.

    Raises:
        InputError: The file is missing, damaged or no text prior.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get(_METADATA_KEY)
            if metadata is None or "embedding" not in list(file.keys()):
                raise InputError(f"{path}: no text prior in it; expected what medfs text build wrote")
            embedding = file.get_tensor("embedding")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors ({error}); expected a text prior") from error
    try:
        return embedding, Provenance.from_json(metadata)
    except MedfsError as error:
        raise InputError(f"{path}: {error}") from error


def read_published(path: Path, names: tuple[str, ...]) -> tuple[Tensor, Provenance]:
    """The tensor released with TAK, (2N, D): N shape rows before N location rows, as (N, 2, D).

    Raises:
        InputError: The file holds no such tensor.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        tensor = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises what it likes
        raise InputError(f"{path}: cannot be read ({type(error).__name__}); expected a file of one tensor") from error
    if not isinstance(tensor, Tensor) or tensor.ndim != 2 or len(tensor) != 2 * len(names):
        expected = f"{len(names)} shape rows before {len(names)} location rows"
        raise InputError(f"{path}: expected one tensor of {expected}, one for each name")
    vectors = tensor.unflatten(0, (2, -1)).transpose(0, 1).contiguous()
    return vectors, Provenance(names, DEFAULT_KINDS, f"published:{path.stem}@{digest}")


def to_state(provenance: Provenance) -> Tensor:
    """The provenance as ``uint8`` JSON, filled up with blanks to whole blocks."""
    content = provenance.to_json().encode()
    content = content.ljust(-(-len(content) // _STATE_BLOCK) * _STATE_BLOCK)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def from_state(state: Tensor) -> Provenance:
    """Read what `to_state` made.

    Raises:
        InputError: The bytes are none of a provenance.
    """
    return Provenance.from_json(state.cpu().numpy().tobytes().decode(errors="replace"))
