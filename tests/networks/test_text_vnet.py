import pytest
import torch
from fake_prior import FakePrior, names

from medfs.errors import InputError, UsageError
from medfs.networks import TextFusion, TextVNet, load_published_tak, parameter_groups, tak_parameter_name
from medfs.text import TextPrior


def network(classes: int = 4, dims: int = 3, *, levels: int = 4, filters: int = 8, init: str = "text") -> TextVNet:
    torch.manual_seed(0)
    fusion = TextFusion(FakePrior(classes), names(classes))
    return TextVNet(fusion, spatial_dims=dims, filters=filters, levels=levels, init=init)


@pytest.mark.parametrize(("dims", "levels", "filters"), [(2, 4, 8), (2, 5, 12), (3, 4, 8), (3, 3, 16)])
def test_logits_and_embeddings_have_their_shapes(dims: int, levels: int, filters: int) -> None:
    model = network(3, dims, levels=levels, filters=filters)
    size = 2**levels
    image = torch.randn(2, 1, *[size] * dims)
    assert model(image).shape == (2, 3, *[size] * dims)
    visuals, texts = model.embed(model.encode(image))
    for scale, level in enumerate(range(levels - 3, levels)):
        width = filters * 2**level
        assert visuals[scale].shape == (2, width, *[size // 2**level] * dims)
        assert texts[scale].shape == (3, 2, width)


def test_the_whole_has_the_published_number_of_parameters() -> None:
    fusion = TextFusion(FakePrior(16), names(16))
    published_total, location_classifier = 18_679_740, 8_507_419
    assert sum(p.numel() for p in TextVNet(fusion).parameters()) == published_total - location_classifier


def test_the_deepest_text_projection_is_shared_with_the_fusion_where_widths_agree() -> None:
    assert len(network(filters=32).alignment.texts) == 2
    assert len(network(filters=8).alignment.texts) == 3


def test_gradients_reach_encoder_context_and_text_path() -> None:
    model = network()
    model(torch.randn(2, 1, 16, 16, 16)).square().mean().backward()
    for part in (model.backbone, model.context, model.head):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None, name
    for parameter in (model.backbone.encoder[0][0].weight, model.head.classes.project[0].weight):
        assert parameter.grad.abs().sum() > 0


def test_the_alignment_reaches_encoder_and_text_projections() -> None:
    model = network()
    visuals, texts = model.embed(model.encode(torch.randn(1, 1, 16, 16, 16)))
    sum(value.square().sum() for value in (*visuals, *texts)).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.alignment.texts.parameters() if p.dim() > 1)
    assert model.backbone.encoder[0][0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dims", [2, 3])
def test_a_deployed_network_gives_the_same_logits_bit_for_bit(dims: int) -> None:
    model = network(dims=dims).eval()
    image = torch.randn(2, 1, *[16] * dims)
    deployed = model.deploy()
    with torch.no_grad():
        assert torch.equal(deployed(image), model(image))
    assert not any("prior" in name or "alignment" in name for name in deployed.state_dict())
    assert model.alignment is not None


def test_deployed_weights_fit_a_network_built_from_the_number_of_classes() -> None:
    deployed = network().deploy()
    plain = TextVNet(4, filters=8, levels=4)
    plain.load_state_dict(deployed.state_dict())
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        assert torch.equal(plain(image), deployed(image))


def test_a_deployed_network_can_be_traced_for_any_size() -> None:
    deployed = network().deploy()
    traced = torch.jit.trace(deployed, torch.randn(1, 1, 16, 16, 16))
    image = torch.randn(2, 1, 24, 16, 32)
    with torch.no_grad():
        torch.testing.assert_close(traced(image), deployed(image), atol=1e-4, rtol=1e-4)


def test_a_deployed_network_has_no_text_embeddings() -> None:
    deployed = network().deploy()
    with pytest.raises(UsageError, match="deployed"):
        deployed.embed(deployed.encode(torch.randn(1, 1, 16, 16, 16)))


def test_the_state_survives_a_round_trip() -> None:
    model, other = network(), network(init="published")
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        assert not torch.equal(model(image), other(image))
        other.load_state_dict(model.state_dict())
        assert torch.equal(model(image), other(image))


def test_the_context_makes_kernels_depend_on_the_image() -> None:
    model = network()
    stages = model.encode(torch.randn(2, 1, 16, 16, 16))
    kernels = model.head.kernels(model.context(stages[-3:]))
    assert not torch.allclose(kernels[0], kernels[1])


def test_too_few_levels_and_an_unknown_start_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 3 levels"):
        TextVNet(4, levels=2)
    with pytest.raises(UsageError, match="'text' or 'published'"):
        network(init="zeros")


def test_parameter_groups_slow_what_generates_kernels_and_lose_nothing() -> None:
    model = network()
    groups = parameter_groups(model, 0.01, generator_factor=0.2, source_factor=0.5)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    expected = {model.backbone: 0.01, model.head.controller: 0.002, model.head.classes: 0.001, model.context: 0.001}
    for module, rate in expected.items():
        assert [rates[id(p)] for p in module.parameters()] == pytest.approx([rate] * len(list(module.parameters())))
    assert sorted(id(p) for g in groups for p in g["params"]) == sorted(id(p) for p in model.parameters())
    assert len(parameter_groups(model.backbone, 0.01)) == 1


def test_vectors_learned_in_the_place_of_texts_keep_the_full_rate() -> None:
    prior = TextPrior.learnable(("background", "liver", "spleen"), width=16)
    model = TextVNet(TextFusion(prior, prior.names), spatial_dims=2, filters=8, levels=3)
    rates = {id(p): group["lr"] for group in parameter_groups(model, 0.01) for p in group["params"]}
    (vectors,) = prior.parameters()
    assert rates[id(vectors)] == 0.01
    assert rates[id(model.head.classes.project[0].weight)] == pytest.approx(0.01 * 0.03 * 0.1)
    assert rates.keys() == {id(p) for p in model.parameters()}


def test_one_step_of_an_optimiser_keeps_the_kernels_of_classes_apart() -> None:
    image, labels = torch.randn(2, 1, 32, 32), torch.randint(16, (2, 32, 32))
    kept = {}
    for factor in (1.0, 0.05):
        model = network(16, dims=2)
        updates = torch.optim.AdamW(parameter_groups(model, 8e-3, factor))
        before = model.head.kernels(torch.zeros(1, 256)).detach()
        torch.nn.functional.cross_entropy(model(image), labels).backward()
        updates.step()
        moved = model.head.kernels(torch.zeros(1, 256)).detach() - before
        kept[factor] = (moved.square().mean() / before.var(1).mean()).sqrt().item()
    assert kept[0.05] < 1 < kept[1.0]


def test_bfloat16_autocast_gives_finite_logits_and_gradients() -> None:
    model = network(dims=2)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(torch.randn(2, 1, 16, 16)).float().square().mean()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.backbone.parameters())


def test_published_names_are_mapped_or_refused() -> None:
    assert tak_parameter_name("fc_layer.fc_layer.0.weight") is None
    assert tak_parameter_name("module.block_five_up.conv.0.bias") == "backbone.up.3.0.bias"
    assert tak_parameter_name("GAP_128.3.weight") == "context.projections.1.weight"
    with pytest.raises(InputError, match=r"block_ten\.conv"):
        tak_parameter_name("block_ten.conv.0.weight")


def test_a_published_parameter_of_another_size_is_named() -> None:
    model = network()
    with pytest.raises(InputError, match="is missing"):
        load_published_tak(model, {})
    state = {"block_one.conv.0.weight": torch.zeros(16, 1, 3, 3, 3)}
    with pytest.raises(InputError, match=r"block_one\.conv\.0\.weight: shape \(16, 1, 3, 3, 3\); expected \(8, 1"):
        load_published_tak(model, state)
