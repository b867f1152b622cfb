"""medfs: segmentation of 3D medical images from few labels."""

__version__ = "0.1.0"
