import json

import pytest
import torch
from transformers import LlamaForCausalLM

from rlvr_world_hf.hub.checkpoint import load_world_model, save_world_model
from rlvr_world_hf.pipeline import WorldModelPipeline
from tests.tiny import tiny_model, tiny_processor, tiny_rows, tiny_sensor_processor


PROCESSOR = tiny_processor()
SETTINGS = "processor_config.json"
ROW = tiny_rows()[0]


def predict(model, processor):
    return WorldModelPipeline(model, processor)(ROW["context"], ROW["actions"], num_samples=2)


def change(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.fixture
def folder(tmp_path):
    return save_world_model(tmp_path / "world", tiny_model(PROCESSOR), PROCESSOR)


def test_reloaded_checkpoint_predicts_the_same(folder):
    model, processor = load_world_model(folder)
    assert torch.equal(predict(model, processor), predict(tiny_model(PROCESSOR), PROCESSOR))
    assert not model.training
    assert processor.fps == 2.0


def test_checkpoint_is_safetensors_only_and_leaves_nothing_beside_it(folder):
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert {"config.json", "model.safetensors", "processor_config.json", "codec/config.json"} <= files
    assert {file.rsplit(".", 1)[-1] for file in files} <= {"json", "safetensors"}
    assert [entry.name for entry in folder.parent.iterdir()] == ["world"]


def test_weights_can_be_loaded_in_another_type(folder):
    model, _ = load_world_model(folder, dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16


def test_transformers_alone_reads_the_policy(folder):
    assert isinstance(LlamaForCausalLM.from_pretrained(folder), LlamaForCausalLM)


def test_saving_again_replaces_the_weights_and_keeps_the_card(folder):
    (folder / "README.md").write_text("card")
    (folder / "results.json").write_text("{}")
    (folder / "adapter_config.json").write_text("{}")
    save_world_model(folder, tiny_model(PROCESSOR, seed=1), PROCESSOR)
    assert torch.equal(predict(*load_world_model(folder)), predict(tiny_model(PROCESSOR, seed=1), PROCESSOR))
    assert (folder / "README.md").read_text() == "card"
    assert (folder / "results.json").exists()
    assert not (folder / "adapter_config.json").exists()


def test_interrupted_save_leaves_the_old_checkpoint(folder, monkeypatch):
    class Interrupted(type(PROCESSOR)):
        def save_pretrained(self, *arguments, **options):
            raise KeyboardInterrupt

    broken = Interrupted(PROCESSOR.tokenizer, PROCESSOR.codec, PROCESSOR.layout, [0.0, 0.0], [512.0, 512.0])
    with pytest.raises(KeyboardInterrupt):
        save_world_model(folder, tiny_model(PROCESSOR, seed=1), broken)
    assert [entry.name for entry in folder.parent.iterdir()] == ["world"]
    assert torch.equal(predict(*load_world_model(folder)), predict(tiny_model(PROCESSOR), PROCESSOR))


def test_folder_with_other_things_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="no checkpoint to replace"):
        save_world_model(tmp_path, tiny_model(PROCESSOR), PROCESSOR)
    with pytest.raises(ValueError, match="is a file"):
        save_world_model(tmp_path / "thesis.tex", tiny_model(PROCESSOR), PROCESSOR)


def test_adapters_are_merged(tmp_path):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(tiny_model(PROCESSOR), LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    save_world_model(tmp_path / "world", model, PROCESSOR)
    torch.testing.assert_close(predict(*load_world_model(tmp_path / "world")), predict(model, PROCESSOR))
    assert hasattr(model, "merge_and_unload")  # training goes on with the adapter


def test_missing_folder_is_named(tmp_path):
    for name in (tmp_path / "none", str(tmp_path / "none"), "./none", "a/b/none"):
        with pytest.raises(FileNotFoundError, match="no checkpoint folder .*none"):
            load_world_model(name)


@pytest.mark.parametrize("lost", ["config.json", "processor_config.json", "codec/config.json"])
def test_missing_file_is_named(folder, lost):
    (folder / lost).unlink()
    with pytest.raises(FileNotFoundError, match=f"it has no {lost}"):
        load_world_model(folder)


@pytest.mark.parametrize("part", [".", "codec"])
def test_pickled_weights_are_refused(folder, part):
    weights = next((folder / part).glob("*.safetensors"))
    torch.save({}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(ValueError, match="pickled .*refused"):
        load_world_model(folder)
    weights.with_suffix(".bin").unlink()
    with pytest.raises(FileNotFoundError, match="no weights"):
        load_world_model(folder)


def test_unknown_processor_is_named(folder):
    path = folder / "processor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"processor_class": "SmellProcessor"}))
    with pytest.raises(ValueError, match="'SmellProcessor'.*VideoWorldModelProcessor"):
        load_world_model(folder)


@pytest.mark.parametrize(
    "name", ["__builtins__", "TokenLayout", "StepBlockProcessor", "_processor", "os.system", None]
)
def test_only_a_processor_is_a_processor_class(folder, name):
    change(folder / SETTINGS, processor_class=name)
    with pytest.raises(ValueError, match=rf"{folder} .* {name!r}, .* LanguageWorldModelProcessor, SensorWorldModelPr"):
        load_world_model(folder)


@pytest.mark.parametrize(
    "file",
    [
        "config.json",
        "generation_config.json",
        SETTINGS,
        "codec/config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ],
)
@pytest.mark.parametrize("content", [b"[]", b'{"version": "1.0", ', b"\xff\xfe\x00", b"[" * 100_000])
def test_a_damaged_file_is_named(folder, file, content):
    (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=rf"Expected in {folder / file} an object of JSON, got .*\. Save or download"):
        load_world_model(folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"layout": None}, "Expected as layout whole numbers .* got None"),
        ({"action_low": ["a", "b"]}, r"Expected as `action_low` one number .* got \['a', 'b'\]"),
        ({"action_low": None}, "Expected as `action_low` one number .* got None"),
        ({"codec": None}, "TypeError: "),
        ({"codec": {"class": 3, "subfolder": "codec"}}, "AttributeError: "),
        ({"processor_class": "SensorWorldModelProcessor"}, "TypeError: .*'state_low'"),
    ],
)
def test_settings_that_do_not_fit_name_the_folder(folder, changes, reason):
    change(folder / SETTINGS, **changes)
    with pytest.raises(ValueError, match=rf"Expected in {folder} settings, tokenizer and codec of a .*: {reason}"):
        load_world_model(folder)


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ({"action_bins": 10**6}, "has 1002002 ids, the tokenizer 2010"),
        ({"action_bins": -1}, "`action_bins` must be at least 1, got -1"),
        ({"dynamics_codebook_size": 10**6}, "has dynamics_codebook_size 1000000, the codec 1000"),
    ],
)
def test_a_layout_that_does_not_fit_names_the_folder(folder, sizes, reason):
    change(folder / SETTINGS, layout=PROCESSOR.layout.to_dict() | sizes)
    with pytest.raises(ValueError, match=rf"Expected in {folder} settings.*{reason}.* Save or download"):
        load_world_model(folder)


def test_json_that_is_no_tokenizer_names_the_folder(folder):
    change(folder / "tokenizer.json", version="9")  # tokenizers raises a plain Exception
    with pytest.raises(ValueError, match=rf"Expected in {folder} settings.*Unknown tokenizer version '9'"):
        load_world_model(folder)


def test_a_bug_is_no_refusal(folder, monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError

    monkeypatch.setattr(type(PROCESSOR), "from_pretrained", fail)
    with pytest.raises(AssertionError):
        load_world_model(folder)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ({"subfolder": "elsewhere"}, "/elsewhere has no diffusion_pytorch_model.safetensors"),
        ({"name": "pusht-codek"}, " names parts of its processor that are not there: .*'pusht-codec'"),
    ],
)
def test_a_codec_that_is_not_there_names_the_folder(folder, place, told):
    kind = json.loads((folder / SETTINGS).read_text())["codec"]["class"]
    change(folder / SETTINGS, codec={"class": kind} | place)
    (folder / "elsewhere").mkdir()
    torch.save(PROCESSOR.codec.state_dict(), folder / "elsewhere" / "diffusion_pytorch_model.bin")  # never read
    (folder / "elsewhere" / "config.json").write_bytes((folder / "codec" / "config.json").read_bytes())
    with pytest.raises(FileNotFoundError, match=f"{folder}{told}"):
        load_world_model(folder)


def test_a_codec_that_is_no_object_is_named(folder):
    change(folder / SETTINGS, codec=3)
    with pytest.raises(ValueError, match=rf"Expected in {folder / SETTINGS} as `codec` .* got 3\."):
        load_world_model(folder)


def test_an_adapter_alone_names_what_it_adapts(folder):
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=rf"{folder / 'adapter_config.json'} .*`base_model_name_or_path`, got None"):
        load_world_model(folder)


def test_repository_that_cannot_be_had_is_named():
    with pytest.raises(FileNotFoundError, match="owner/none is no folder here"):  # the tests are offline
        load_world_model("owner/none")


def test_repository_id_goes_to_the_hub_without_pickles(folder, monkeypatch):
    from rlvr_world_hf.hub import download as downloading

    asked = {}

    def download(repo_id, **options):
        asked.update(options, repo_id=repo_id)
        return str(folder)

    monkeypatch.setattr(downloading, "snapshot_download", download)
    load_world_model("owner/world", revision="v1", token="secret")
    assert (asked["repo_id"], asked["revision"], asked["token"]) == ("owner/world", "v1", "secret")
    assert "*.bin" in asked["ignore_patterns"]


def test_a_world_of_sensors_needs_no_codec(tmp_path):
    processor, row = tiny_sensor_processor(), tiny_rows(predicts=("sensors",))[0]
    folder = save_world_model(tmp_path / "world", tiny_model(processor), processor)
    assert not (folder / "codec").exists()
    model, loaded = load_world_model(folder, device="cpu")
    predicted, expected = (
        WorldModelPipeline(*pair)(row["context"], row["actions"], num_samples=2)
        for pair in ((model, loaded), (tiny_model(processor), processor))
    )
    assert torch.equal(predicted, expected)
