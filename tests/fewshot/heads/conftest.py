"""Fixtures of the tests of few-shot heads."""

import pytest
import torch


@pytest.fixture
def several_threads():
    """More than one thread for the convolutions.

    A hundred layers in single precision are reproduced to about 3e-4 of the double precision result only. On one
    thread the convolutions sum in another order than where the reference was computed, on two or more in the same.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(2, before))
    yield
    torch.set_num_threads(before)
