"""The text-conditioned V-Net computes what the published network computes."""

from pathlib import Path

import pytest
import torch
from reference_vectors import assert_matches, load_case
from torch import nn

from medfs.errors import InputError
from medfs.networks import TextFusion, TextVNet, load_published_tak

AMOS_CLASSES = 16


class StoredTexts(nn.Module):
    """A prior of the released rows: shape texts of all classes first, then their location texts."""

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("embedding", rows.view(2, -1, rows.shape[1]).transpose(0, 1))

    def forward(self, names: tuple[str, ...]) -> torch.Tensor:
        return self.embedding[: len(names)]


def published_network(folder: Path) -> TextVNet:
    rows = torch.load(folder / "amos_embedding_shape_location.pth", map_location="cpu", weights_only=True)
    names = tuple(f"class {index}" for index in range(AMOS_CLASSES))
    return TextVNet(TextFusion(StoredTexts(rows), names))


def test_reference_tak_network(reference: Path) -> None:
    case = load_case(reference, "tak_network")
    network = published_network(reference)
    load_published_tak(network, case.parameters)
    network.eval()
    with torch.no_grad():
        stages = network.encode(case.tensor("volume"))
        logits = network.predict(stages, network.decode(stages))
        visuals, texts = network.embed(stages)
    assert_matches(logits, case.arrays["logit"])
    for index in range(3):
        assert_matches(visuals[index], case.arrays[f"visual_embedding_{index}"])
        assert_matches(texts[index].transpose(0, 1).flatten(0, 1), case.arrays[f"text_embedding_{index}"])


def test_a_missing_published_parameter_is_named(reference: Path) -> None:
    parameters = load_case(reference, "tak_network").parameters
    del parameters["controller.bias"]
    with pytest.raises(InputError, match=r"head\.controller\.bias is missing"):
        load_published_tak(published_network(reference), parameters)
