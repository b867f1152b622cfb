"""What a picture is taken for gives it prototypes: compared with plain loops."""

import pytest
import torch
import torch.nn.functional as F

from medfs.networks.self_support import class_scores, self_prototypes


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("each_place", [False, True])
def test_scores_are_ten_times_the_cosine(each_place):
    features, foreground = random(1, 6, 3, 4), random(1, 6, seed=1)
    background = random(1, 6, 3, 4, seed=2) if each_place else random(1, 6, seed=2)
    scores = class_scores(features, foreground, background)
    of_place = background[:, :, 1, 2] if each_place else background
    expected = [10 * F.cosine_similarity(features[:, :, 1, 2], each) for each in (of_place, foreground)]
    torch.testing.assert_close(scores[:, :, 1, 2], torch.stack(expected, dim=1))


def test_certain_places_give_the_means_and_each_place_its_own_background():
    features, scores = random(1, 6, 5, 7), 3 * random(1, 2, 5, 7, seed=1)
    foreground, background, local = self_prototypes(features, scores)
    places, probability = features[0].flatten(1).T, scores[0].flatten(1).softmax(dim=0)
    torch.testing.assert_close(foreground[0], places[probability[1] > 0.7].mean(dim=0))
    chosen = places[probability[0] > 0.6]
    torch.testing.assert_close(background[0], chosen.mean(dim=0))
    weight = (2 * F.cosine_similarity(places[:, None], chosen[None], dim=2)).softmax(dim=1)
    torch.testing.assert_close(local[0].flatten(1).T, weight @ chosen, rtol=1e-4, atol=1e-5)


def test_where_no_place_is_certain_the_twelve_most_probable_ones_stand_in():
    features, scores = random(1, 6, 5, 7), torch.zeros(1, 2, 5, 7)
    scores[0, 1] = 0.1 * torch.rand(5, 7, generator=torch.Generator().manual_seed(3))
    best = scores[0, 1].flatten().topk(12).indices
    torch.testing.assert_close(self_prototypes(features, scores)[0][0], features[0].flatten(1)[:, best].mean(dim=1))


def test_fewer_places_than_twelve_are_all_taken():
    features = random(1, 6, 2, 2)
    torch.testing.assert_close(self_prototypes(features, torch.zeros(1, 2, 2, 2))[0], features.mean(dim=(2, 3)))
