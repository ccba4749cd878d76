"""Families beyond ResNets, none of which the package knows by name: units found, output recomposed.

The table in docs/families.md is held to this one.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from resanalysis import intact, unravel, without
from resanalysis.network import Inputs
from tests.conftest import ROOT, settle

IDS = torch.randint(0, 90, (2, 12), generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(IDS)
MASK[1, 9:] = 0


def hugging_face(kind: str, config: str, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        transformers = pytest.importorskip("transformers", reason="the extra is not installed")
        sizes = {
            "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
            "num_attention_heads": 4, "use_cache": False, "bos_token_id": 0, "eos_token_id": 0,
        }  # fmt: skip
        return getattr(transformers, kind)(getattr(transformers, config)(**sizes | options))

    return make


def timm_model(name: str, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        timm = pytest.importorskip("timm", reason="the extra is not installed")
        return timm.create_model(name, pretrained=False, num_classes=7, **options)

    return make


def keras_model(name: str, side: int, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        if find_spec("keras") is None:  # imported, it would choose its backend
            pytest.skip("the extra is not installed")
        from resanalysis.checkpoint.keras_models import keras_on_torch
        from resanalysis.checkpoint.keras_module import wrapped

        keras = keras_on_torch()
        keras.src.utils.naming.reset_uids()
        builder = getattr(keras.applications, name)
        made = builder(weights=None, input_shape=(side, side, 3), classes=7, **options)
        return wrapped(made, name)

    return make


def keras_image(side: int) -> Tensor:
    """As Keras' models with a rescaling of their own take them: 0 to 255."""
    return 255 * torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def gpt2() -> nn.Module:
    return hugging_face(
        "GPT2LMHeadModel", "GPT2Config", n_embd=32, n_layer=3, n_head=4, n_positions=32
    )()


FAMILIES: dict[str, tuple[Callable[[], nn.Module], Inputs, int, str]] = {
    # name in the docs: model, example, units, first unit
    "GPT-2": (gpt2, {"input_ids": IDS}, 6, "transformer.h.0.attn"),
    "Llama (RMSNorm, rotary, grouped-query)": (
        hugging_face("LlamaForCausalLM", "LlamaConfig", num_key_value_heads=2),
        {"input_ids": IDS, "attention_mask": MASK}, 6, "model.layers.0.self_attn",
    ),
    "GPT-NeoX (parallel attention and MLP)": (
        hugging_face("GPTNeoXForCausalLM", "GPTNeoXConfig"),
        {"input_ids": IDS}, 3, "gpt_neox.layers.0",
    ),
    "BERT (post-norm)": (
        hugging_face("BertForSequenceClassification", "BertConfig"),
        {"input_ids": IDS, "attention_mask": MASK}, 6, "bert.encoder.layer.0.attention.output",
    ),
    "Mixtral (mixture of experts)": (
        hugging_face("MixtralForCausalLM", "MixtralConfig", num_key_value_heads=2,
                     num_local_experts=4, num_experts_per_tok=2),
        {"input_ids": IDS}, 6, "model.layers.0.self_attn",
    ),
    "OPT": (
        hugging_face("OPTForCausalLM", "OPTConfig", ffn_dim=64, word_embed_proj_dim=32),
        {"input_ids": IDS, "attention_mask": MASK}, 6, "model.decoder.layers.0.self_attn",
    ),
    "Gemma 2 (norms before and after)": (
        hugging_face("Gemma2ForCausalLM", "Gemma2Config", num_key_value_heads=2, head_dim=8),
        {"input_ids": IDS}, 6, "model.layers.0.self_attn",
    ),
    "BLOOM (position bias)": (
        hugging_face("BloomForCausalLM", "BloomConfig", n_head=4, n_layer=3),
        {"input_ids": IDS}, 6, "transformer.h.0.self_attention",
    ),
    "Mamba (no attention)": (
        hugging_face("MambaForCausalLM", "MambaConfig", state_size=4),
        {"input_ids": IDS}, 3, "backbone.layers.0",
    ),
    "ViT (Hugging Face)": (
        hugging_face("ViTForImageClassification", "ViTConfig", image_size=32, patch_size=8),
        {"pixel_values": IMAGE}, 6, "vit.layers.0.attention",
    ),
    "ViT (torchvision)": (
        lambda: torchvision.models.VisionTransformer(32, 8, 3, 4, 32, 64, num_classes=7),
        IMAGE, 6, "encoder.layers.encoder_layer_0.self_attention",
    ),
    "Swin (torchvision)": (
        lambda: torchvision.models.swin_transformer.SwinTransformer(
            [4, 4], 16, [2, 2], [2, 2], [2, 2], num_classes=7
        ),
        IMAGE, 8, "features.1.0.attn",
    ),
    "ViT (timm)": (
        timm_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=3),
        IMAGE, 6, "blocks.0.attn",
    ),
    "Swin (timm)": (
        timm_model("swin_tiny_patch4_window7_224", img_size=64, window_size=2, depths=(2, 2),
                   embed_dim=24, num_heads=(2, 4)),
        torch.randn(2, 3, 64, 64), 8, "layers.0.blocks.0.attn",
    ),
    "Mixer (timm)": (
        timm_model("mixer_s32_224", img_size=64),
        torch.randn(2, 3, 64, 64), 16, "blocks.0.mlp_tokens",
    ),
    "ResNet v2 (timm)": (timm_model("resnetv2_50"), IMAGE, 16, "stages.0.blocks.0"),
    "EfficientNet (timm)": (timm_model("efficientnet_b0"), IMAGE, 9, "blocks.1.1"),
    "RegNet (timm)": (timm_model("regnety_002"), IMAGE, 13, "s1.b1"),
    "ConvNeXt (timm)": (timm_model("convnext_atto"), IMAGE, 12, "stages.0.blocks.0"),
    "Inception-ResNet v2 (timm)": (
        timm_model("inception_resnet_v2"), torch.randn(2, 3, 96, 96), 40, "repeat.0",
    ),
    "NFNet (timm)": (timm_model("nfnet_f0"), IMAGE, 12, "stages.0.0"),
    "ResNet50 (Keras)": (keras_model("ResNet50", 32), IMAGE, 16, "conv2_block1"),
    "ResNet50V2 (Keras)": (keras_model("ResNet50V2", 32), IMAGE, 16, "conv2_block1"),
    "MobileNetV2 (Keras)": (keras_model("MobileNetV2", 32, alpha=0.35), IMAGE, 10, "block_2"),
    "MobileNetV3Small (Keras)": (
        keras_model("MobileNetV3Small", 32), keras_image(32), 6, "expanded_conv_2",
    ),
    "EfficientNetB0 (Keras)": (keras_model("EfficientNetB0", 32), keras_image(32), 9, "block2b"),
    "EfficientNetV2B0 (Keras)": (
        keras_model("EfficientNetV2B0", 32), keras_image(32), 15, "block2b",
    ),
    "ConvNeXtTiny (Keras)": (
        keras_model("ConvNeXtTiny", 32), keras_image(32), 18, "convnext_tiny_stage_0_block_0",
    ),
    "Xception (Keras)": (
        keras_model("Xception", 71), torch.randn(2, 3, 71, 71), 12, "block2",
    ),
    "InceptionResNetV2 (Keras)": (
        keras_model("InceptionResNetV2", 75), torch.randn(2, 3, 75, 75), 40, "block35_1",
    ),
}  # fmt: skip


def logits_of(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output.logits


# Each takes seconds, and another of its kind is quicker.
LONG = {
    "Mamba (no attention)",
    "OPT",  # GPT-2 and Llama are tested
    "Gemma 2 (norms before and after)",
    "BLOOM (position bias)",
    "Mixtral (mixture of experts)",  # whose lesions are tested below
    "Swin (torchvision)",
    "ViT (timm)",
    "ResNet v2 (timm)",
    "EfficientNet (timm)",
    "ConvNeXt (timm)",
    "RegNet (timm)",
    "Inception-ResNet v2 (timm)",
    "NFNet (timm)",
    *(name for name in FAMILIES if name.endswith("(Keras)")),
}


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(name, marks=[pytest.mark.slow, pytest.mark.nightly] if name in LONG else [])
        for name in FAMILIES
    ],
)
def test_family(family: str) -> None:
    make, example, units, first = FAMILIES[family]
    torch.manual_seed(0)
    model = settle(make())
    network = unravel(model, example)
    assert (len(network), network.units[0].name) == (units, first)
    with torch.no_grad():
        expected = model(**example) if isinstance(example, dict) else model(example)
        torch.testing.assert_close(network(example), logits_of(expected), rtol=1e-4, atol=1e-4)
    # Every unit computes what its parts say.
    with torch.no_grad():
        h, side = network.enter(example)
        for unit in network.units:
            h, side = network.reach(unit.index, h, side)
            parts = unit.scaled(h, 1.0, side)
            h = unit(h, side)
            torch.testing.assert_close(parts, h, rtol=1e-4, atol=1e-4)


def test_the_docs_list_these_families() -> None:
    page = (Path(ROOT) / "docs" / "families.md").read_text(encoding="utf-8")
    for family, (_, _, units, first) in FAMILIES.items():
        assert f"| {family} | {units} | `{first}` |" in page, family


def zeroed(module: nn.Module, _inputs: object, output: Any) -> Any:
    del module
    if isinstance(output, tuple):
        return (torch.zeros_like(output[0]), *output[1:])
    return torch.zeros_like(output)


def test_lesion_of_a_gpt2_layer_equals_zeroing_both_branches() -> None:
    torch.manual_seed(0)
    model = gpt2().eval()
    example = {"input_ids": IDS, "attention_mask": MASK}
    network = unravel(model, example, group="layer")
    assert [unit.name for unit in network.units] == [f"transformer.h.{i}" for i in range(3)]
    for layer in range(3):
        block = model.transformer.h[layer]  # type: ignore[union-attr, index]
        handles = [part.register_forward_hook(zeroed) for part in (block.attn, block.mlp)]
        with torch.no_grad():
            expected = model(**example).logits
            for handle in handles:
                handle.remove()
            h, side = network.enter(example)
            for unit in network.units:
                h = unit.without_branch(h, side) if unit.index == layer else unit(h, side)
            torch.testing.assert_close(network.leave(h, side), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "branches"),
    [("Mixtral (mixture of experts)", ("self_attn", "mlp")), ("OPT", ("self_attn", "fc2"))],
)
def test_lesions_where_the_stream_chooses_experts_or_is_flattened(
    family: str, branches: tuple[str, str]
) -> None:
    torch.manual_seed(0)
    model = FAMILIES[family][0]().eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    network = unravel(model, {"input_ids": IDS})
    layers = (model.model.decoder if family == "OPT" else model.model).layers  # type: ignore[union-attr]
    assert {(unit.in_shape, unit.out_shape) for unit in network.units} == {((12, 32), (12, 32))}
    for lesioned in range(6):
        part = getattr(layers[lesioned // 2], branches[lesioned % 2])  # type: ignore[index]
        handle = part.register_forward_hook(zeroed)
        with torch.no_grad():
            expected = model(input_ids=IDS).logits
            handle.remove()
            h, side = network.enter({"input_ids": IDS})
            for unit in network.units:
                h = unit.without_branch(h, side) if unit.index == lesioned else unit(h, side)
            torch.testing.assert_close(network.leave(h, side), expected, rtol=1e-4, atol=1e-4)


def test_layer_grain_of_a_post_norm_network_keeps_the_norms() -> None:
    torch.manual_seed(0)
    model = FAMILIES["BERT (post-norm)"][0]().eval()
    example = {"input_ids": IDS, "attention_mask": MASK}
    network = unravel(model, example, group="layer")
    assert len(network) == 3
    with torch.no_grad():
        torch.testing.assert_close(network(example), model(**example).logits, rtol=1e-4, atol=1e-5)
        layer = model.bert.encoder.layer[1]  # type: ignore[union-attr, index]
        h = torch.randn(2, 12, 32)
        side = network.enter(example)[1]
        expected = layer.output.LayerNorm(layer.attention.output.LayerNorm(h))
        torch.testing.assert_close(network.units[1].without_branch(h, side), expected)


def test_side_inputs_are_asked_for() -> None:
    torch.manual_seed(0)
    network = unravel(FAMILIES["Llama (RMSNorm, rotary, grouped-query)"][0](), {"input_ids": IDS})
    with pytest.raises(
        ValueError, match=r"reads \d side inputs .* pass the second result of network.ent"
    ):
        network.units[0].branch(torch.randn(2, 12, 32))


def test_routes_of_a_language_model_are_evaluated() -> None:
    from resanalysis import evaluate
    from tests.conftest import Batches

    class Tokens(Batches):
        def batch(self, start: int, stop: int) -> Any:
            return {"input_ids": self.inputs[start:stop]}, self.inputs[start:stop]

    torch.manual_seed(0)
    model = gpt2().eval()
    network = unravel(model, {"input_ids": IDS})
    scores = evaluate(network, [intact(network), without(network, [3])], Tokens(IDS, None))
    with torch.no_grad():
        expected = [float(model(input_ids=row[None], labels=row[None]).loss) for row in IDS]
    assert scores.values["loss"][0].tolist() == pytest.approx(expected, rel=1e-4)
    assert (scores.values["kl"][1] > 0).all()
