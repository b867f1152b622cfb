"""Dataset recipes: each turns a raw download, once, into NIfTI files that medfs trains on.

Recipes compose the transforms of `medfs.transforms` and run from a checkout; they are not part of the wheel.
"""
