"""
Loads processors and a codec where this library cannot be imported, by the code that came with them, and uses them.

Called as `python without_library.py REPOSITORY FILE`: reads inputs from the file, and writes what came of them to it.
"""

import sys

import torch


class Hidden:
    """Finds no module of the library, wherever it lies."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] == "rlvr_world_hf":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def work(repository: str, inputs: dict) -> dict:
    if "frames" in inputs:
        from diffusers import AutoModel

        codec = AutoModel.from_pretrained(repository, subfolder=inputs["subfolder"], trust_remote_code=True).eval()
        with torch.no_grad():
            codes = codec.encode_context(inputs["frames"])
        return {"codes": codes}
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(repository, trust_remote_code=True)
    if "prompt" in inputs:
        ids = processor.encode_prompt(inputs["prompt"])
        return {"ids": ids, "answers": processor.decode_state(processor.encode_completion(inputs["prompt"]))}
    window = inputs["window"]
    ids = processor.encode_prompt(**{name: window[name] for name in processor.prompt_columns})
    return {"ids": ids, "states": processor.decode_state(inputs["completion_ids"], window["context"])}


if __name__ == "__main__":
    sys.meta_path.insert(0, Hidden())
    repository, file = sys.argv[1:]
    jobs = torch.load(file)
    torch.save([work(repository + suffix, inputs) for suffix, inputs in jobs], file)
    assert "rlvr_world_hf" not in sys.modules
