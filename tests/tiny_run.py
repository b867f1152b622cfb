"""A run folder as training leaves it, of an untrained network: made in a second."""

from pathlib import Path

import torch

from medfs.anatomy import custom_label_set
from medfs.engines import write_run
from medfs.engines.checkpoint import save_checkpoint
from medfs.engines.planning import TrainingPlan
from medfs.io.bundles import find_bundle
from medfs.networks import PlainVNet, TextFusion, TextVNet
from medfs.semisup import MeanTeacher
from medfs.text import TextPrior

BUNDLE = "multi_organ_tak_segmentation"
NAMES = ("background", "liver", "spleen", "right_kidney")
PLAN = TrainingPlan("ct", (12.0, 12.0, 12.0), (16, 16, 16), 3)


def make_run(
    folder: Path,
    *,
    prior: TextPrior | None = None,
    seed: int = 0,
    network: TextVNet | PlainVNet | None = None,
    deployed: str = "teacher",
) -> Path:
    """A run for `NAMES` on a 12 mm grid whose network gives every class somewhere; its teacher is another one."""
    torch.manual_seed(seed)
    prior = prior or TextPrior.embedded(NAMES)
    network = network or TextVNet(TextFusion(prior, NAMES), filters=8, levels=PLAN.levels)
    teacher = MeanTeacher(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    state = {"network": network.state_dict(), "teacher": teacher.state_dict()}
    save_checkpoint(folder / "checkpoints" / "best.pt", state)
    write_run(folder, find_bundle(BUNDLE), network, custom_label_set(NAMES), PLAN, 8, deployed)
    return folder
