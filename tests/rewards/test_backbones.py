import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image
from transformers import (
    BertConfig,
    BertModel,
    ConvNextConfig,
    ConvNextModel,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    ResNetConfig,
    ResNetModel,
    SwinConfig,
    SwinModel,
    ViTConfig,
    ViTModel,
)

from rlvr_world_hf.rewards.backbones import EMBEDDED, find_backbone, load_backbone, timm_names


MILITARY_UNIFORM = 652
"""Its class of ImageNet."""

SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 8, "num_attention_heads": 2, "intermediate_size": 16}


def saved(folder: Path, model: Any) -> str:
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def resnet(tmp_path: Path) -> str:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 16], depths=[1, 1, 1], layer_type="basic")
        return saved(tmp_path / "resnet", ResNetModel(config))


MODELS: dict[str, tuple[Any, list[tuple[int, int]]]] = {
    # Model, and places and channels of each depth of frames of 64 x 64.
    "convolutions": (
        lambda: ConvNextModel(ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1])),
        [(256, 8), (64, 8), (16, 16), (4, 16)],
    ),
    "windows": (
        lambda: SwinModel(SwinConfig(embed_dim=8, depths=[1, 1], num_heads=[1, 1], window_size=4, patch_size=8)),
        [(16, 16), (16, 16)],
    ),
    "registers": (
        lambda: Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SIZES, patch_size=14, image_size=56)),
        [(16, 16)] * 4,
    ),
    "places": (lambda: ViTModel(ViTConfig(**SIZES, patch_size=8, image_size=32)), [(64, 16)] * 4),
}


@pytest.mark.parametrize("kind", list(MODELS))
def test_models_of_transformers_give_places_and_channels_of_several_depths(kind: str, tmp_path: Path) -> None:
    make, expected = MODELS[kind]
    backbone = load_backbone(saved(tmp_path / kind, make()))
    depths = backbone(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert [tuple(depth.shape[1:]) for depth in depths][-len(expected) :] == expected
    assert not any(parameter.requires_grad for parameter in backbone.parameters()) and not backbone.training


def test_layers_and_size_are_chosen(resnet: str) -> None:
    frames = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    usual = load_backbone(resnet)(frames)
    assert torch.equal(load_backbone(resnet, layers=[-1])(frames)[0], usual[-1])
    larger = load_backbone(resnet, layers=[-1], size=128)(frames)[0]
    assert larger.shape[1] == 4 * usual[-1].shape[1]
    assert load_backbone(resnet, size=64)(torch.rand(1, 3, 8, 8))[0].shape == usual[0].shape
    with pytest.raises(ValueError, match="hidden states 0 to 3"):
        load_backbone(resnet, layers=[9])


def test_frames_must_be_large_enough_and_have_three_channels(resnet: str) -> None:
    with pytest.raises(ValueError, match="at least 32x32 pixels for this backbone, got 16x64; enlarge them by `size`"):
        load_backbone(resnet)(torch.zeros(1, 3, 16, 64))
    with pytest.raises(ValueError, match="RGB frames for a backbone, got 4 channels"):
        load_backbone(resnet)(torch.zeros(1, 4, 64, 64))


def test_frames_are_normalized_as_the_folder_says(resnet: str) -> None:
    frames = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    usual = load_backbone(resnet)(frames)[0]
    (Path(resnet) / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.0] * 3, "image_std": [1.0] * 3})
    )
    plain = load_backbone(resnet)
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(plain((frames - mean) / deviation)[0], usual)
    assert not torch.equal(plain(frames)[0], usual)


def test_what_is_no_backbone_is_refused(tmp_path: Path, resnet: str) -> None:
    text = {
        "vocab_size": 8,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
    }
    with pytest.raises(ValueError, match="vision model .* got one of model_type 'bert'"):
        load_backbone(saved(tmp_path / "bert", BertModel(BertConfig(**text))))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="with config.json in .*empty, got none"):
        load_backbone(str(tmp_path / "empty"))
    config = Path(resnet) / "config.json"
    config.write_text(config.read_text().replace('"depths": [\n    1,\n    1,\n    1\n  ]', '"depths": [1, 1, 2]'))
    with pytest.raises(ValueError, match=r"without \d+ of them, such as 'encoder"):
        load_backbone(resnet)


def test_one_that_is_not_here_is_not_downloaded() -> None:
    with pytest.raises(FileNotFoundError, match=r"neither; it is never downloaded .*`hf download owner/name`"):
        find_backbone("owner/name")
    with pytest.raises(FileNotFoundError, match=r"`hf download timm/resnet18.a1_in1k`"):
        find_backbone("resnet18.a1_in1k")


def test_the_embedded_one_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlvr_world_hf.rewards import backbones

    monkeypatch.setattr(backbones, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"needs .* and timm; install the extra: .*\[perceptual\]"):
        find_backbone(EMBEDDED)


def test_names_of_timm_are_found_among_those_of_the_package() -> None:
    stored = {
        f"{name}.weight": torch.full((2,), float(number))
        for number, name in enumerate(
            [
                "_conv_stem",
                "_bn0",
                "_blocks.0._depthwise_conv",
                "_blocks.0._bn1",
                "_blocks.1._expand_conv",
                "_blocks.2._bn2",
            ]
        )
    }
    wanted = ["conv_stem", "bn1", "blocks.0.0.conv_dw", "blocks.0.0.bn1", "blocks.1.0.conv_pw", "blocks.1.1.bn3"]
    found = timm_names(stored, {f"{name}.weight": torch.zeros(2) for name in wanted})
    assert [value[0].item() for value in found.values()] == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match=r"without '_blocks.0._bn2.weight' of its shape"):
        timm_names(stored, {"blocks.0.0.bn2.weight": torch.zeros(2)})


def test_the_embedded_one_knows_photographs() -> None:
    """With its own head the network tells what a picture shows: its weights are the trained ones, in their places."""
    pytest.importorskip("timm", reason="needs the extra perceptual")
    place = find_backbone(EMBEDDED)
    backbone = load_backbone(EMBEDDED)
    depths = backbone(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert [tuple(depth.shape[1:]) for depth in depths] == [(1024, 16), (256, 24), (64, 40), (16, 112), (4, 320)]
    import timm

    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    stored = torch.load(place, map_location="cpu", weights_only=True)
    body = {
        name: value
        for name, value in whole.state_dict().items()
        if name.split(".")[0] in ("conv_stem", "bn1", "blocks")
    }
    head = {"conv_head.weight": "_conv_head.weight", "classifier.weight": "_fc.weight", "classifier.bias": "_fc.bias"}
    head |= {name: name.replace("bn2", "_bn1") for name in whole.state_dict() if name.startswith("bn2.")}
    whole.load_state_dict(timm_names(stored, body) | {name: stored[source] for name, source in head.items()})
    # Grace Hopper, whom Matplotlib brings along.
    with get_sample_data("grace_hopper.jpg") as file:
        picture = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None]
    frames = torch.nn.functional.interpolate(picture.float() / 255, size=(224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        chances = whole((frames - 0.5) * 2).softmax(dim=1)[0]
    assert chances.argmax() == MILITARY_UNIFORM, f"{chances.topk(5)}"


def test_a_model_of_timm_in_a_folder(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="needs the extra perceptual")
    from safetensors.torch import save_file

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("test_resnet", pretrained=False)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    told = {"architecture": "test_resnet", "pretrained_cfg": {"mean": [0.0] * 3, "std": [1.0] * 3}}
    (tmp_path / "config.json").write_text(json.dumps(told))
    frames = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    depths = load_backbone(str(tmp_path))(frames)
    expected = model.eval().forward_features(frames)
    torch.testing.assert_close(depths[-1], expected.flatten(2).transpose(1, 2))
    assert len(load_backbone(str(tmp_path), layers=[0, 1])(frames)) == 2
    with pytest.raises(ValueError, match="give other `layers`"):
        load_backbone(str(tmp_path), layers=[17])
