"""The head that docs/few_shot.md adds keeps the contract of all heads."""

import re
from pathlib import Path

import pytest
import test_head_contract as contract
import torch

from medfs.fewshot import heads
from medfs.networks import functional, reductions
from medfs.types import Prediction, Prototypes

PAGE = Path(__file__).parents[3] / "docs" / "few_shot.md"


@pytest.fixture
def mean_head(monkeypatch):
    """The class on the page, exported as the page says."""
    names = {**vars(functional), **vars(reductions), "EpisodeHead": heads.EpisodeHead, "torch": torch}
    names |= {"Prediction": Prediction, "Prototypes": Prototypes}
    section = PAGE.read_text().split("## Adding a head")[1]
    exec(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1], names)
    monkeypatch.setattr(heads, "MeanHead", names["MeanHead"], raising=False)
    return names["MeanHead"]


def test_the_head_of_the_tutorial_keeps_the_contract(mean_head, tmp_path):
    assert heads.MeanHead in contract.head_classes().values()
    contract.test_a_written_network_computes_the_same(mean_head, tmp_path)
    contract.test_the_truth_of_the_query_cannot_reach_the_logits(mean_head)
    contract.test_one_empty_shot_among_others_changes_nothing(mean_head)
    contract.test_supports_inside_give_what_the_episode_gives(mean_head)
    for spatial_dims in (2, 3):
        contract.test_the_query_gets_two_finite_logits_a_voxel(mean_head, spatial_dims, shots=3)
        contract.test_the_loss_moves_the_first_layer_of_the_encoder(mean_head, spatial_dims)
        contract.test_a_support_without_the_organ_gives_finite_logits_and_gradients(mean_head, spatial_dims)
