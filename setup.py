"""What setup.cfg cannot say: the compiled extension, and the bundles as a package of data."""

import sys
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup

windows = sys.platform == "win32"
supervoxel = Extension(
    "medfs._supervoxel",
    sources=["csrc/_supervoxel.pyx"],
    depends=sorted(glob("csrc/*.hpp")),
    include_dirs=["csrc"],
    language="c++",
    # No contraction into fused multiply-add: the order of equal edge costs decides the partition.
    extra_compile_args=["/std:c++17", "/O2", "/fp:precise"] if windows else ["-std=c++17", "-O3", "-ffp-contract=off"],
)

setup(
    packages=[*find_packages(include=["medfs", "medfs.*"]), "medfs.bundles"],
    ext_modules=cythonize([supervoxel], language_level=3, build_dir="build/cython"),
)
