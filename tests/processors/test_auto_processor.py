"""Once anything of ours that reads checkpoints is imported, `AutoProcessor` knows our processors without trust."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import tiny_joint_processor, tiny_processor, tiny_sensor_processor


BEFORE_AND_AFTER = {
    "before": "import rlvr_world_hf.processors\nfrom transformers import AutoProcessor",
    "after": "from transformers import AutoProcessor\nfrom rlvr_world_hf import WorldModelPipeline",
}


@pytest.mark.parametrize("make", [tiny_processor, tiny_joint_processor, tiny_sensor_processor])
def test_processors_are_found_by_name(make: Any, tmp_path: Path) -> None:
    from transformers import AutoProcessor

    processor = make()
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is type(processor)
    assert loaded.to_dict() == processor.to_dict()


@pytest.mark.slow
@pytest.mark.parametrize("order", BEFORE_AND_AFTER)
def test_the_order_of_imports_does_not_matter(order: str, tmp_path: Path) -> None:
    tiny_sensor_processor().save_pretrained(tmp_path)
    code = f"{BEFORE_AND_AFTER[order]}\nassert AutoProcessor.from_pretrained({str(tmp_path)!r}).fps == 2.0"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_other_processors_are_as_they_were() -> None:
    from transformers.models.auto.processing_auto import processor_class_from_name

    assert processor_class_from_name("NoSuchProcessor") is None
    assert processor_class_from_name("CLIPProcessor").__module__.startswith("transformers.")
