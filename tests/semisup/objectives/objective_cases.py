"""Networks, batches and objectives small enough for a second."""

import inspect

import torch
from torch import nn

from medfs.networks import PlainVNet, TextFusion, TextVNet
from medfs.semisup import MeanTeacher, objectives
from medfs.semisup.objectives import SemiSupervisedObjective
from medfs.text import TextPrior

NAMES = ("background", "liver", "spleen")
SIZE, CUBES = 16, 2  # cubes have two voxels along each axis at the deepest of three levels
OBJECTIVES = {
    name: found
    for name, found in inspect.getmembers(objectives, inspect.isclass)
    if issubclass(found, SemiSupervisedObjective) and found is not SemiSupervisedObjective
}


def text_network(dims=2, seed=0):
    torch.manual_seed(seed)
    fusion = TextFusion(TextPrior.random(NAMES, width=8), NAMES, hidden_channels=16, out_channels=16)
    return TextVNet(fusion, spatial_dims=dims, filters=4, levels=3, context_channels=16)


def plain_vnet(dims=2, seed=0):
    torch.manual_seed(seed)
    return PlainVNet(len(NAMES), spatial_dims=dims, filters=4, levels=3)


def any_network(dims=2, seed=0):
    """A network that has nothing but ``forward``."""
    torch.manual_seed(seed)
    convolution = nn.Conv2d if dims == 2 else nn.Conv3d
    return nn.Sequential(convolution(1, 6, 3, padding=1), nn.ReLU(), convolution(6, len(NAMES), 1))


def build(kind, network, dims=2, seed=0, **options):
    """An objective for a network; what its constructor asks for by the names of the seam is given."""
    sizes = {"patch_size": (SIZE,) * dims, "cubes": CUBES, "hidden_channels": 16, "frequency_steps": 2}
    known = {"network": network, **sizes}
    wanted = {name for base in kind.__mro__ for name in inspect.signature(base.__init__).parameters}
    torch.manual_seed(seed)
    return kind(**({name: value for name, value in known.items() if name in wanted} | options))


def batches(dims=2, size=SIZE, labelled=2, unlabelled=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (labelled, 1, *[size] * dims)
    label = torch.randint(0, len(NAMES), shape, generator=generator)
    known = {"image": torch.rand(shape, generator=generator) + label, "label": label}
    other = {"image": torch.rand((unlabelled, *shape[1:]), generator=generator)}
    return known, other if unlabelled else None


def evaluated(objective, network, dims=2, progress=0.5, *, step=7, seed=0, **options):
    """Terms of one step, and the teacher."""
    labelled, other = batches(dims, **options)
    teacher = MeanTeacher(network)
    torch.manual_seed(seed)
    return objective(network, teacher, labelled, other, progress, step), teacher
