import json

import pytest
import torch

from rlvr_world_hf import LanguageWorldModelProcessor, VideoWorldModelProcessor, WorldModelPipeline
from rlvr_world_hf.hub.checkpoint import load_world_model, save_world_model
from rlvr_world_hf.hub.official import (
    OWNER,
    REPOSITORIES,
    RT1_ACTIONS,
    find_official,
    load_official,
    official_processor,
)
from rlvr_world_hf.training.language import build_language_policy, train_text_tokenizer
from tests.official import official_tokenizer, save_official_model, save_weights


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The authors' repositories as folders of small weights."""
    root = tmp_path_factory.mktemp("hub") / OWNER
    for kind, name in (("frame", "rt1-frame-tokenizer"), ("compressive", "rt1-compressive-tokenizer")):
        (root / name).mkdir(parents=True)
        config, weights = official_tokenizer(kind)
        (root / name / "config.json").write_text(json.dumps(config))
        save_weights(weights, root / name / "diffusion_pytorch_model.safetensors")
    tokenizer = train_text_tokenizer(["open the door"], vocab_size=300)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    for name, repository in REPOSITORIES.items():
        if repository.kind == "video":
            layout = official_processor(root / name).layout
            save_official_model(root / name, layout.vocabulary_size)
        elif repository.kind == "language":
            policy = build_language_policy(
                tokenizer, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16
            )
            policy.save_pretrained(root / name)
            tokenizer.save_pretrained(root / name)
    return root


def of_kind(*kinds):
    return [name for name, repository in REPOSITORIES.items() if repository.kind in kinds]


def test_all_thirteen_are_known_by_id():
    assert len(REPOSITORIES) == 13
    assert all(find_official(f"{OWNER}/{name}") is repository for name, repository in REPOSITORIES.items())
    assert find_official("someone/rt1-frame-tokenizer") is None
    assert find_official(f"{OWNER}/another") is None


@pytest.mark.parametrize("name", of_kind("video"))
def test_a_video_world_model_predicts(tree, name):
    pipeline = WorldModelPipeline.from_pretrained(tree / name)
    observed = REPOSITORIES[name].observed_steps
    layout = pipeline.processor.layout
    assert (layout.context_frames, layout.observed_steps) == ((1, 1) if "multi" in name else (0, 4))
    assert (layout.action_dims, layout.action_bins, pipeline.processor.fps) == (13, 256, 3.0)
    given = layout.context_frames + observed
    size = tuple(pipeline.processor.codec.config.image_size)
    assert size == ((64, 80) if "multi" in name else (256, 320)), "a compressive tokenizer tells it"
    frames = torch.rand(given, 3, *size, generator=torch.Generator().manual_seed(0))
    assert pipeline(frames, torch.zeros(observed, 13), horizon=1).shape == (1, 1, 3, *size)


def test_saved_in_our_form_it_predicts_the_same(tree, tmp_path):
    model, processor = load_world_model(tree / "rt1-world-model-multi-step-rlvr")
    folder = save_world_model(tmp_path / OWNER / "rt1-world-model-multi-step-rlvr", model, processor)
    assert find_official(folder) is None, "it holds a processor now"
    frames, actions = torch.rand(2, 3, 64, 80, generator=torch.Generator().manual_seed(0)), torch.zeros(3, 13)
    predicted = [WorldModelPipeline.from_pretrained(place)(frames, actions) for place in (tree / folder.name, folder)]
    assert torch.equal(*predicted)


@pytest.mark.parametrize("name", of_kind("language"))
def test_a_language_world_model_answers(tree, name):
    pipeline = WorldModelPipeline.from_pretrained(tree / name)
    assert isinstance(pipeline.processor, LanguageWorldModelProcessor)
    assert len(pipeline([{"role": "user", "content": "open"}], num_samples=2)) == 2


@pytest.mark.parametrize("name", of_kind("video", "codec"))
def test_processors_load_by_the_same_name(tree, name):
    processor = VideoWorldModelProcessor.from_pretrained(tree / name)
    assert processor.layout == official_processor(tree / name).layout
    with pytest.raises(ValueError, match="goes with a VideoWorldModelProcessor"):
        LanguageWorldModelProcessor.from_pretrained(tree / name)


def test_what_is_no_world_model_says_what_it_is(tree):
    with pytest.raises(ValueError, match="is a visual tokenizer: `load_official_tokenizer` reads it"):
        load_world_model(tree / "rt1-frame-tokenizer")
    with pytest.raises(ValueError, match=r"is a dataset: a recipe reads it by `world: webarena`"):
        WorldModelPipeline.from_pretrained("thuml/webarena-world-model-cot")
    with pytest.raises(ValueError, match="is a dataset"):
        VideoWorldModelProcessor.from_pretrained("thuml/bytesized32-world-model-cot")
    with pytest.raises(ValueError, match="Expected a world model among thuml/"):
        load_official("someone/else")


def test_the_action_ranges_are_those_of_the_authors(golden):
    recorded = json.loads((golden / "action_ranges.json").read_text())
    low, high = zip(*recorded, strict=True)
    assert tuple(zip(low, high, strict=True)) == RT1_ACTIONS
