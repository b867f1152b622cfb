"""The one thing setup.cfg cannot say: the compiled extension."""

import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

windows = sys.platform == "win32"
supervoxel = Extension(
    "medfs._supervoxel",
    sources=["csrc/_supervoxel.pyx"],
    include_dirs=["csrc"],
    language="c++",
    # No contraction into fused multiply-add: the order of equal edge costs decides the partition.
    extra_compile_args=["/std:c++17", "/O2", "/fp:precise"] if windows else ["-std=c++17", "-O3", "-ffp-contract=off"],
)

setup(ext_modules=cythonize([supervoxel], language_level=3, build_dir="build/cython"))
