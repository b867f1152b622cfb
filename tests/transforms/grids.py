"""Volumes with awkward geometry, and where things are in the world."""

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation


def affine_of(spacing_mm, codes="RAS", degrees=(0, 0, 0), origin=(-30, 12, 55)):
    """Voxel to world for axes named by codes, turned by Euler angles."""
    orientation = nib.orientations.axcodes2ornt(tuple(codes))
    directions = np.zeros((3, 3))
    directions[orientation[:, 0].astype(int), range(3)] = orientation[:, 1]
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ directions @ np.diag(spacing_mm)
    affine[:3, 3] = origin
    return affine


def blob_at(shape, centre, affine, sigma=2.0, dtype=torch.float64):
    """A Gaussian landmark in a MetaTensor (1, *shape)."""
    steps = np.indices(shape) - np.reshape(centre, (-1, *[1] * len(shape)))
    return MetaTensor(torch.from_numpy(np.exp(-(steps**2).sum(axis=0) / (2 * sigma**2))[None]).to(dtype), affine=affine)


def centre_in_world(volume):
    """Centre of mass of a MetaTensor (1, X, Y, Z) in mm."""
    weight, affine = volume[0].numpy(), np.asarray(volume.affine)
    voxel = (np.indices(weight.shape) * weight).reshape(3, -1).sum(axis=1) / weight.sum()
    return affine[:3, :3] @ voxel + affine[:3, 3]
