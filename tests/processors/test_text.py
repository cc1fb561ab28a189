import pytest
import torch

from rlvr_world_hf import LanguageWorldModelProcessor
from rlvr_world_hf.processors.base import WorldModelProcessor
from tests.tiny import text_tokenizer


CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<bot>{% endif %}"


@pytest.fixture
def processor():
    return LanguageWorldModelProcessor(text_tokenizer(), prompt_template="{state}\n> {action}\n")


def test_what_is_written_is_read(processor):
    answers = ["open(door)", "- closed(box)\n+ open(box)", "ünïcode {1: 'a'}"]
    ids = processor.encode_completion(answers)
    assert all(row[-1] == processor.tokenizer.eos_token_id for row in ids)
    assert processor.decode_state(ids) == answers
    assert processor.decode_state(torch.tensor(ids[:1])) == answers[:1]


def test_prompts_of_a_template(processor):
    prompt = processor.write_prompt("at {action} home", "go {state}")
    assert prompt == "at {action} home\n> go {state}\n"
    assert processor.tokenizer.decode(processor.encode_prompt([prompt])[0]) == prompt


def test_prompts_of_a_conversation(processor):
    conversation = [{"role": "user", "content": "go"}]
    with pytest.raises(ValueError, match="chat template"):
        processor.encode_prompt([conversation])
    processor.tokenizer.chat_template = CHAT
    assert processor.tokenizer.decode(processor.encode_prompt([conversation])[0]) == "<user>go<bot>"


@pytest.mark.parametrize(
    ("completion", "answer"),
    [("so it falls. THE FINAL ANSWER IS: {}", "{}"), ("<think>a</think> b", "b"), (" b ", "b"), ("</think>", "")],
)
def test_reasoning_may_come_first(processor, completion, answer):
    assert processor.decode_state(processor.encode_completion([completion])) == [answer]


def test_what_cannot_be_parsed_is_none(processor):
    assert processor.decode_state(processor.encode_completion(["12", "x"]), parse=int) == [12, None]


def test_saved_and_loaded(processor, tmp_path):
    processor.answer_markers = ["=>"]
    processor.save_pretrained(tmp_path)
    loaded = LanguageWorldModelProcessor.from_pretrained(tmp_path)
    assert isinstance(loaded, WorldModelProcessor)
    assert loaded.to_dict() == processor.to_dict()
    assert loaded.tokenizer.padding_side == "left"
    assert loaded.encode_prompt(["go"]) == processor.encode_prompt(["go"])


def test_what_it_needs():
    with pytest.raises(ValueError, match="name both fields"):
        LanguageWorldModelProcessor(text_tokenizer(), prompt_template="{state}")
    with pytest.raises(ValueError, match="prompt_template"):
        LanguageWorldModelProcessor(text_tokenizer()).write_prompt("a", "b")
    endless = text_tokenizer()
    endless.eos_token = None
    with pytest.raises(ValueError, match="end token"):
        LanguageWorldModelProcessor(endless)
