"""The table of predicted classes."""

import pytest
import torch

from medfs.semisup.class_frequencies import ClassFrequencies


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_table_is_of_the_last_whole_stretch(temperature):
    frequencies = ClassFrequencies(3, steps=2, temperature=temperature)
    counts = [[8.0, 0, 2], [8, 0, 2], [1, 3, 1], [1, 5, 0], [9, 9, 9]]
    for row in counts[:1]:
        frequencies.add(torch.tensor(row))
    assert not frequencies.known
    frequencies.add(torch.tensor(counts[1]))
    torch.testing.assert_close(frequencies.table, torch.tensor([1, 0, (4 / 16) ** (1 / temperature)]))
    for row in counts[2:]:
        frequencies.add(torch.tensor(row))
    torch.testing.assert_close(frequencies.table, torch.tensor([2 / 8, 1, 1 / 8]) ** (1 / temperature))


def test_weights_are_those_of_the_labels():
    frequencies = ClassFrequencies(4, steps=1)
    labels = torch.tensor([[0, 0, 0, 0], [2, 2, 3, 0]])
    frequencies.add(frequencies.count(labels))
    torch.testing.assert_close(frequencies.weights(labels), torch.tensor([[1, 1, 1, 1], [0.4, 0.4, 0.2, 1]]))


def test_what_was_counted_is_kept_in_the_state():
    frequencies = ClassFrequencies(2, steps=3)
    for _ in range(2):
        frequencies.add(torch.tensor([5, 3]))
    other = ClassFrequencies(2, steps=3)
    other.load_state_dict(frequencies.state_dict())
    other.add(torch.tensor([0, 4]))
    torch.testing.assert_close(other.table, torch.tensor([1.0, 1.0]))
