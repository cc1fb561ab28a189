"""One repository holds a whole world model, over real HTTP: it comes back bit for bit, and is never half there."""

import re
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from huggingface_hub import HfApi, constants
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlvr_world_hf import LanguageWorldModelProcessor, VideoWorldModelProcessor, WorldModelPipeline
from rlvr_world_hf.data.transition import Transition, transition_row
from rlvr_world_hf.hub.checkpoint import load_world_model, save_world_model
from rlvr_world_hf.hub.push import push_checkpoint, push_world_model
from rlvr_world_hf.playground.checkpoints import fetch
from tests.local_hub import TOKEN, USER, LocalHub
from tests.tiny import (
    text_tokenizer,
    tiny_joint_processor,
    tiny_language_model,
    tiny_model,
    tiny_processor,
    tiny_rows,
    tiny_sensor_processor,
)


PICKLED = re.compile(r"\.(bin|pt|pth|pkl|pickle|ckpt)$")
PROCESSOR = tiny_processor()
ROW = tiny_rows()[0]


@pytest.fixture
def repo(request: pytest.FixtureRequest) -> str:
    """A repository of the test's own, as the cache of downloads outlives it."""
    return f"{USER}/{re.sub('[^a-z0-9]+', '-', request.node.name.removeprefix('test_'))}".rstrip("-")[:96]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_world_model(tmp_path / "world", tiny_model(PROCESSOR), PROCESSOR)


def predict(model: Any, processor: Any) -> torch.Tensor:
    return WorldModelPipeline(model, processor)(ROW["context"], ROW["actions"], num_samples=2)


def with_adapter(*, seed: int = 0) -> PeftModel:
    torch.manual_seed(seed)
    model = get_peft_model(tiny_model(PROCESSOR), LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    return model.eval()


@pytest.mark.parametrize("make", [tiny_processor, tiny_sensor_processor, tiny_joint_processor])
def test_predictions_come_back_bit_for_bit(hub: LocalHub, repo: str, make: Any) -> None:
    processor = make()
    row = tiny_rows(predicts=processor.predicts)[0]
    beside = {"states": row["context_states"]} if len(processor.predicts) > 1 else {}
    pipeline = WorldModelPipeline(tiny_model(processor), processor)
    pipeline.push_to_hub(repo)
    loaded = WorldModelPipeline.from_pretrained(repo)
    given = (one(row["context"], row["actions"], **beside, num_samples=2, seed=3) for one in (pipeline, loaded))
    torch.testing.assert_close(*given, rtol=0, atol=0)
    assert not [path for path in hub.files(repo) if PICKLED.search(path)]


def test_answers_come_back(hub: LocalHub, repo: str) -> None:
    tokenizer = text_tokenizer()
    processor = LanguageWorldModelProcessor(tokenizer, prompt_template="{state} > {action}\n")
    pipeline = WorldModelPipeline(tiny_language_model(tokenizer), processor)
    pipeline.push_to_hub(repo)
    loaded = WorldModelPipeline.from_pretrained(repo)
    assert loaded("a door", "open(door)", num_samples=2) == pipeline("a door", "open(door)", num_samples=2)


def test_a_repository_holds_all_of_a_world_model(hub: LocalHub, repo: str, folder: Path, tmp_path: Path) -> None:
    (folder / "results.json").write_text("{}")
    (folder / ".DS_Store").write_text("")
    (tmp_path / "strip.png").write_bytes(b"picture")
    commit = push_checkpoint(folder, repo, documents=[tmp_path / "strip.png"], commit_message="First")
    assert commit.repo_url.repo_id == repo
    files = hub.files(repo)
    model = {"config.json", "generation_config.json", "model.safetensors"}
    processor = {"processor_config.json", "tokenizer.json", "tokenizer_config.json"}
    codec = {"codec/config.json", "codec/diffusion_pytorch_model.safetensors"}
    assert model | processor | codec | {"README.md", "results.json", "strip.png"} <= set(files)
    assert {"video.py", "base.py", "codec/modeling_compressive_tokenizer.py", "codec/fsq.py"} <= set(files)
    assert ".DS_Store" not in files
    assert f'from_pretrained("{repo}")' in files["README.md"].decode()
    assert not list(folder.rglob("*.py")) and "auto_map" not in (folder / "processor_config.json").read_text()
    assert isinstance(AutoModelForCausalLM.from_pretrained(repo), type(tiny_model(PROCESSOR)))
    assert len(AutoTokenizer.from_pretrained(repo)) == PROCESSOR.layout.vocabulary_size


def test_the_card_of_a_run_loads_the_repository(hub: LocalHub, repo: str, folder: Path) -> None:
    card = 'Measured.\n\npipeline = WorldModelPipeline.from_pretrained("outputs/quickstart/rlvr")\n'
    (folder / "README.md").write_text(card)
    push_checkpoint(folder, repo)
    assert hub.files(repo)["README.md"].decode() == card.replace("outputs/quickstart/rlvr", repo)
    assert (folder / "README.md").read_text() == card


def test_revisions_and_tokens(hub: LocalHub, repo: str, folder: Path) -> None:
    first = push_checkpoint(folder, repo)
    push_checkpoint(folder, f"{repo}-private", private=True)
    push_world_model(tiny_model(PROCESSOR, seed=1), PROCESSOR, repo, revision="next", token=TOKEN)
    for revision, seed in ((None, 0), (first.oid, 0), ("next", 1)):
        loaded = load_world_model(repo, revision=revision, token=TOKEN)
        assert torch.equal(predict(*loaded), predict(tiny_model(PROCESSOR, seed=seed), PROCESSOR))
    with pytest.raises(FileNotFoundError, match="no such repository, or shows it to others only.*`token`"):
        load_world_model(f"{repo}-private", token=False)
    load_world_model(f"{repo}-private", token=TOKEN)
    with pytest.raises(FileNotFoundError, match="no revision 'v9'"):
        load_world_model(repo, revision="v9")


def test_a_push_replaces_what_an_earlier_one_left(hub: LocalHub, repo: str, folder: Path) -> None:
    push_world_model(with_adapter(), PROCESSOR, repo, merge_adapter=False)
    api = HfApi()
    for path in ("notes.md", "pytorch_model.bin"):
        api.upload_file(path_or_fileobj=b"mine", path_in_repo=path, repo_id=repo)
    api.upload_file(path_or_fileobj=b"my own card", path_in_repo="README.md", repo_id=repo)
    push_checkpoint(folder, repo)
    files = hub.files(repo)
    assert not {"adapter_config.json", "adapter_model.safetensors", "pytorch_model.bin"} & set(files)
    assert files["notes.md"] == b"mine" and files["README.md"] == b"my own card"
    assert torch.equal(predict(*load_world_model(repo)), predict(tiny_model(PROCESSOR), PROCESSOR))


def test_an_adapter_goes_with_its_base_and_processor(hub: LocalHub, repo: str) -> None:
    model = with_adapter()
    WorldModelPipeline(model, PROCESSOR).push_to_hub(repo, merge_adapter=False)
    assert {"adapter_config.json", "adapter_model.safetensors", "model.safetensors"} <= set(hub.files(repo))
    assert f'from_pretrained("{repo}")' in hub.files(repo)["README.md"].decode()
    loaded, processor = load_world_model(repo)
    assert isinstance(loaded, PeftModel)
    assert torch.equal(predict(loaded, processor), predict(model, PROCESSOR))
    assert torch.equal(predict(loaded.unload(), processor), predict(tiny_model(PROCESSOR), PROCESSOR))
    by_transformers = AutoModelForCausalLM.from_pretrained(repo, attn_implementation="eager")
    torch.testing.assert_close(predict(by_transformers.eval(), processor), predict(model, PROCESSOR))


def test_an_adapter_whose_base_is_on_the_hub(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    tiny_model(PROCESSOR).push_to_hub(f"{repo}-base")
    base = AutoModelForCausalLM.from_pretrained(f"{repo}-base")
    model = get_peft_model(base, LoraConfig(target_modules=["q_proj"], init_lora_weights=False)).eval()
    model.push_to_hub(repo)
    PROCESSOR.push_to_hub(repo)
    assert torch.equal(predict(*load_world_model(repo)), predict(model, PROCESSOR))


def test_a_merged_adapter_is_a_plain_model(hub: LocalHub, repo: str) -> None:
    push_world_model(with_adapter(), PROCESSOR, repo)
    assert "adapter_config.json" not in hub.files(repo)
    torch.testing.assert_close(predict(*load_world_model(repo)), predict(with_adapter(), PROCESSOR))


@pytest.mark.parametrize("arrives", [0, 1, 2])
def test_an_upload_cut_off_leaves_the_old_revision(hub: LocalHub, repo: str, folder: Path, arrives: int) -> None:
    commit = push_checkpoint(folder, repo)
    hub.uploads.clear()
    hub.breaks_after = arrives
    changed = WorldModelPipeline(tiny_model(PROCESSOR, seed=1), tiny_processor(observed_steps=1))
    with pytest.raises(ConnectionError, match="broke off, and what it held before is unchanged; push again"):
        changed.push_to_hub(repo)
    hub.breaks_after = None
    assert HfApi().model_info(repo).sha == commit.oid
    assert torch.equal(predict(*load_world_model(repo)), predict(tiny_model(PROCESSOR), PROCESSOR))


@pytest.mark.parametrize("name", ["training_args.bin", "codec/model.pt", "a.pth", "b.pkl"])
def test_pickled_files_are_refused_before_anything_is_sent(hub: LocalHub, repo: str, folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    with pytest.raises(ValueError, match=rf"no pickled files .* got {name}; .* Nothing was sent"):
        push_checkpoint(folder, repo)
    assert not hub.repositories


def test_what_is_no_checkpoint_is_refused_before_anything_is_sent(hub: LocalHub, repo: str, folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint folder .*none"):
        push_checkpoint(folder / "none", repo)
    shutil.rmtree(folder / "codec")
    with pytest.raises(FileNotFoundError, match="it has no codec/config.json"):
        push_checkpoint(folder, repo)
    assert not hub.repositories


def test_a_wrong_token_is_told(hub: LocalHub, repo: str, folder: Path) -> None:
    with pytest.raises(PermissionError, match=f"does not let you write to {repo}: log in .* or give a `token`"):
        push_checkpoint(folder, repo, token="hf_wrong")


@pytest.mark.parametrize("path", ["model.safetensors", "processor_config.json"])
def test_a_damaged_file_is_named_and_removed(hub: LocalHub, repo: str, folder: Path, path: str) -> None:
    push_checkpoint(folder, repo)
    content = hub.files(repo)[path]
    hub.spoil(repo, path, by=content[:-1] + b"!")
    with pytest.raises(ValueError, match=rf"{path}, expected with the hash \w+, given \w+\. .* load again"):
        load_world_model(repo)
    hub.spoilt.clear()
    assert torch.equal(predict(*load_world_model(repo)), predict(tiny_model(PROCESSOR), PROCESSOR))


@pytest.mark.parametrize("path", ["config.json", "processor_config.json", "codec/config.json"])
def test_a_missing_file_is_named(hub: LocalHub, repo: str, folder: Path, path: str) -> None:
    push_checkpoint(folder, repo)
    HfApi().delete_file(path, repo)
    with pytest.raises(FileNotFoundError, match=f"{repo} is not a world model: it has no {path}. Save one"):
        load_world_model(repo)


@pytest.mark.parametrize(("part", "file"), [("", "pytorch_model.bin"), ("codec/", "diffusion_pytorch_model.bin")])
def test_pickled_weights_are_not_loaded(hub: LocalHub, repo: str, folder: Path, part: str, file: str) -> None:
    push_checkpoint(folder, repo)
    api = HfApi()
    (weights,) = [path for path in hub.files(repo) if re.fullmatch(rf"{part}[^/]*\.safetensors", path)]
    api.delete_file(weights, repo)
    with pytest.raises(FileNotFoundError, match="has no weights: expected a .safetensors file"):
        load_world_model(repo)
    api.upload_file(path_or_fileobj=b"pickled", path_in_repo=part + file, repo_id=repo)
    with pytest.raises(ValueError, match=rf"pickled \({part}{file}\).* refused"):
        load_world_model(repo)
    assert not list(Path(constants.HF_HUB_CACHE, f"models--{repo.replace('/', '--')}").rglob("*.bin"))


def test_a_missing_repository_is_told(hub: LocalHub) -> None:
    with pytest.raises(FileNotFoundError, match="someone/none is no folder here.*no such repository.*Check the id"):
        load_world_model("someone/none")


def test_the_playground_plays_a_pushed_model(hub: LocalHub, repo: str, folder: Path) -> None:
    api = HfApi()
    push_checkpoint(folder, repo, revision="trained")
    api.create_repo(f"{repo}-empty")
    fetched = fetch(f"{repo}@trained")
    assert {"config.json", "model.safetensors"} <= {file.name for file in fetched.iterdir()}
    assert not list(fetched.rglob("*.py")), "no code is downloaded"
    torch.testing.assert_close(predict(*load_world_model(fetched)), predict(*load_world_model(folder)), rtol=0, atol=0)
    for hub_id, expected in ((f"{repo}-none", "The Hub did not give"), (f"{repo}@v9", "at v9")):
        with pytest.raises(FileNotFoundError, match=expected):
            fetch(hub_id)
    with pytest.raises(ValueError, match="no weights as safetensors"):
        fetch(f"{repo}-empty")


def test_rows_go_up_and_come_back(hub: LocalHub) -> None:
    words = {"group": "cellar", "prompt": "shut", "answer": "open", "state": "shut", "action": "open"}
    made = (Transition(transition_id=str(n), **words, next_state="open", is_changed=bool(n % 2)) for n in range(4))
    rows = datasets.Dataset.from_list([transition_row(transition) for transition in made])
    rows.push_to_hub(f"{USER}/rows", split="train")
    loaded = datasets.load_dataset(f"{USER}/rows", split="train")
    assert loaded.features == rows.features and loaded.to_list() == rows.to_list()


def test_a_processor_alone(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    PROCESSOR.push_to_hub(repo, revision="next", commit_message="Layout")
    loaded = VideoWorldModelProcessor.from_pretrained(repo, revision="next")
    assert loaded.to_dict() == PROCESSOR.to_dict()
    PROCESSOR.save_pretrained(tmp_path / "again", push_to_hub=True, repo_id=f"{repo}-again")
    assert {"video.py", "codec/fsq.py"} <= set(hub.files(f"{repo}-again"))
    assert not hasattr(PROCESSOR, "auto_map") and PROCESSOR.codec._auto_class is None


def test_an_inverse_model_is_pushed_with_the_world_model_and_goes_with_one_that_has_none(
    hub: LocalHub, repo: str
) -> None:
    from rlvr_world_hf.rewards.inverse_dynamics import InverseDynamicsConfig, InverseDynamicsModel, load_inverse_model

    inverse = InverseDynamicsModel(InverseDynamicsConfig(image_size=16, width=8, hidden_size=8))
    push_world_model(tiny_model(PROCESSOR), PROCESSOR, repo, inverse_model=inverse)
    assert {"inverse/config.json", "inverse/model.safetensors"} <= set(hub.files(repo))
    loaded = load_inverse_model(repo)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in inverse.state_dict().items())
    assert torch.equal(predict(*load_world_model(repo)), predict(tiny_model(PROCESSOR), PROCESSOR))
    push_world_model(tiny_model(PROCESSOR), PROCESSOR, repo)
    assert not [path for path in hub.files(repo) if path.startswith("inverse/")]
