"""Checkpoints that lack, add or exaggerate something, or hope to have code run."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.robust.campaign import CRASHED, HUNG, WRONG, Ended, Place, Tally


PROMISE = (
    "A checkpoint whose files are not what its settings declare is refused in a sentence that says what is wrong, "
    "within seconds and without taking the memory it claims; no code in it is run."
)

SECONDS = 20.0
CODEC, PROCESSOR = "codec/config.json", "processor_config.json"
MEMORY = 600
"""MiB beyond what the imported library takes; a whole checkpoint of this size takes less than 100."""


def _weights(change: Callable[[dict[str, torch.Tensor]], None], part: str = ".") -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = next((folder / part).glob("*.safetensors"))
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file, metadata={"format": "pt"})

    return damage


def _settings(file: str = "config.json", **values: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return damage


def _layout(**values: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / PROCESSOR
        settings = json.loads(path.read_text())
        settings["layout"] |= {name: value for name, value in values.items() if name in settings["layout"]}
        assert any(settings["layout"].get(name) == value for name, value in values.items()), settings["layout"]
        path.write_text(json.dumps(settings))

    return damage


def _first(tensors: dict[str, torch.Tensor]) -> str:
    return sorted(name for name, value in tensors.items() if value.is_floating_point() and value.dim() > 1)[0]


def _replace(value: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        name = _first(tensors)
        tensors[name] = value(tensors[name]).contiguous()

    return change


def _whole(tensors: dict[str, torch.Tensor]) -> None:
    for name, value in tensors.items():
        tensors[name] = (value * 100).to(torch.int64)


def _without(count: int) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name in sorted(tensors)[:count]:
            del tensors[name]

    return change


class _Payload:
    """Leaves a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def _pickled(part: str, name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for file in (folder / part).glob("*.safetensors"):
            file.unlink()
        (folder / part / name).write_bytes(pickle.dumps(_Payload(folder / "ran")))

    return damage


def _index(target: str) -> Callable[[Path], None]:
    """Weights in parts, whose index points elsewhere."""

    def damage(folder: Path) -> None:
        file = folder / "model.safetensors"
        names = list(load_file(file))
        outside = folder.parent / "outside.safetensors"
        shutil.move(file, outside)
        index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, target.format(outside=outside))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return damage


def _code(file: str, **auto_map: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        _settings(file, auto_map=auto_map)(folder)
        (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w').close()\nclass Evil: pass\n")

    return damage


def _bytes(file: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_bytes(content) and None


def _huge_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((2**40).to_bytes(8, "little") + b"{" * 100)


def _linked(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("/dev/zero")


HOSTILE: dict[str, Callable[[Path], None]] = {
    "a tensor missing": _weights(_without(1)),
    "half of the tensors missing": _weights(_without(6)),
    "no tensors": _weights(dict.clear),
    "a tensor too many": _weights(lambda tensors: tensors.update(extra=torch.zeros(3))),
    "NaN in a tensor": _weights(_replace(lambda value: value * torch.nan)),
    "infinity in a tensor": _weights(_replace(lambda value: value / 0)),
    "whole numbers": _weights(_whole),
    "a tensor of another shape": _weights(_replace(lambda value: value.T)),
    "a codec tensor missing": _weights(_without(1), "codec"),
    "half of the codec missing": _weights(_without(20), "codec"),
    "a codec tensor too many": _weights(lambda tensors: tensors.update(extra=torch.zeros(3)), "codec"),
    "NaN in the codec": _weights(_replace(lambda value: value * torch.nan), "codec"),
    "2,000 layers": _settings(num_hidden_layers=2000),
    "a million layers": _settings(num_hidden_layers=10**6),
    "no layers": _settings(num_hidden_layers=0),
    "minus one layer": _settings(num_hidden_layers=-1),
    "a vocabulary of a billion": _settings(vocab_size=10**9),
    "a vocabulary of two": _settings(vocab_size=2),
    "hidden size 10^6": _settings(hidden_size=10**6),
    "half a hidden size": _settings(hidden_size=7.5),
    "heads that do not divide": _settings(num_attention_heads=3),
    "a text as a number of heads": _settings(num_attention_heads="two"),
    "gpt2": _settings(model_type="gpt2"),
    "a model type of no library": _settings(model_type="smell"),
    "no model type": _settings(model_type=None),
    "an encoder": _settings(model_type="bert"),
    "settings that are a list": _bytes("config.json", b"[]"),
    "settings that are cut": _bytes("config.json", b'{"model_type": "lla'),
    "settings that are no text": _bytes("config.json", b"\xff\xfe\x00"),
    "processor settings that are a list": _bytes(PROCESSOR, b"[]"),
    "processor settings that are cut": _bytes(PROCESSOR, b"{"),
    "a processor of no library": _settings(PROCESSOR, processor_class="os.system"),
    "a processor by a private name": _settings(PROCESSOR, processor_class="__builtins__"),
    "no layout": _settings(PROCESSOR, layout=None),
    "a layout of a million action bins": _layout(action_bins=10**6),
    "a layout of minus one action bin": _layout(action_bins=-1),
    "a layout of other codes": _layout(dynamics_codebook_size=10**6),
    "action ranges of texts": _settings(PROCESSOR, action_low=["a", "b"]),
    "a tokenizer that is cut": _bytes("tokenizer.json", b'{"version": "1.0", '),
    "codec settings that are a list": _bytes(CODEC, b"[]"),
    "a codec of no library": _settings(CODEC, _class_name="Evil"),
    "a codec of another kind": _settings(CODEC, _class_name="AutoencoderKL"),
    "frames of 10^5 pixels": _settings(CODEC, image_size=[10**5, 10**5]),
    "frames of no pixels": _settings(CODEC, image_size=[0, 0]),
    "codec of 10^6 channels": _settings(CODEC, block_out_channels=[10**6, 10**6]),
    "codec of 10^6 layers": _settings(CODEC, layers_per_block=10**6),
    "codec with 10^9 codes": _settings(CODEC, dynamics_levels=[1000, 1000, 1000]),
    "pickled weights": _pickled(".", "pytorch_model.bin"),
    "pickled weights named otherwise": _pickled(".", "model.pt"),
    "a pickled codec": _pickled("codec", "diffusion_pytorch_model.bin"),
    "weights outside the folder": _index("../outside.safetensors"),
    "weights at another place": _index("{outside}"),
    "weights that are no file": _index("/dev/zero"),
    "weights linked to a device": _linked,
    "code for the model": _code("config.json", AutoModelForCausalLM="evil.Evil", AutoConfig="evil.Evil"),
    "code for the processor": _code(PROCESSOR, AutoProcessor="evil.Evil"),
    "code for the tokenizer": _code("tokenizer_config.json", AutoTokenizer=["evil.Evil", "evil.Evil"]),
    "code for the codec": _code(CODEC, AutoModel="evil.Evil"),
    "weights cut in the middle": lambda folder: _cut(folder / "model.safetensors"),
    "a codec cut in the middle": lambda folder: _cut(next((folder / "codec").glob("*.safetensors"))),
    "empty weights": _bytes("model.safetensors", b""),
    "a header of a terabyte": _huge_header,
    "weights that are text": _bytes("model.safetensors", b"hello world, these are no weights at all"),
}

MAY_BE_LOADED = (
    "code for the model",
    "code for the processor",
    "code for the tokenizer",
    "code for the codec",
    "a codec of no library",
    "a codec of another kind",
)
"""Their weights are whole, and the processor says of which class the codec is: what matters is that no code is run."""

QUICK = ("a tensor missing", "2,000 layers", "pickled weights", "weights outside the folder", "code for the model")


def _cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def check(place: Place, tally: Tally) -> None:
    whole = place.folder / "whole"
    ended = place.forks.run(str(whole), call="tests.robust.hostile_checkpoints:save")
    assert ended is not None and ended.code == 0, ended and ended.text
    usual = _load(place, whole)
    assert usual is not None and usual.code == 0, usual and usual.text
    for number, (case, damage) in enumerate(HOSTILE.items()):
        if place.is_quick and case not in QUICK:
            continue
        folder = place.folder / str(number) / "checkpoint"
        shutil.copytree(whole, folder)
        damage(folder)
        tally.tried += 1
        ended = _load(place, folder)
        if (folder / "ran").exists():
            tally.fault(WRONG, case, "its code was run")
        if ended is None:
            tally.fault(HUNG, case, f"not refused within {SECONDS:.0f} s")
            continue
        if ended.memory > MEMORY:
            tally.fault(WRONG, case, f"took {ended.memory:.0f} MiB")
        if ended.crash:
            tally.fault(CRASHED, case, ended.crash)
        elif not ended.code and case not in MAY_BE_LOADED:
            tally.fault(WRONG, case, "was accepted, and predicts")
        elif ended.code and str(folder) not in ended.sentence.replace("~", str(Path.home())):
            tally.fault(WRONG, case, f"does not name its folder: {ended.sentence}")
        shutil.rmtree(folder.parent)


def _load(place: Place, folder: Path) -> Ended | None:
    return place.forks.run(str(folder), call="tests.robust.hostile_checkpoints:load", patience=SECONDS)


def save(folder: str) -> int:
    """In a fork: save a tiny world model."""
    from rlvr_world_hf.hub.checkpoint import save_world_model
    from tests.tiny import tiny_model, tiny_processor

    processor = tiny_processor()
    save_world_model(folder, tiny_model(processor), processor)
    return 0


def load(folder: str) -> int:
    """In a fork: load a checkpoint and predict; as the commands do, a refusal is a sentence."""
    import sys

    from rlvr_world_hf.pipeline import WorldModelPipeline

    try:
        pipeline = WorldModelPipeline.from_pretrained(folder)
    except (ValueError, TypeError, FileNotFoundError, ImportError) as error:
        if isinstance(error, TypeError) and "xpected" not in str(error):
            raise
        sys.stderr.write(f"rlvr-world: {error}".replace("\n", " ") + "\n")
        return 2
    predicted = pipeline(torch.zeros(3, 16, 16), torch.full((2, 2), 256.0))
    return 0 if predicted.isfinite().all() else 3
