"""Dataset recipes: each turns a raw download, once, into NIfTI files that medfs trains on.

Recipes compose the transforms of `medfs.transforms` and run from a checkout, ``python -m preprocessing.<recipe> SRC
DST``; they are not part of the wheel. Which download each one expects is in ``preprocessing/README.md``.
"""
