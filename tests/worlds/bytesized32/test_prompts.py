import pytest

from rlvr_world_hf.worlds.bytesized32.answers import read_following_state
from rlvr_world_hf.worlds.bytesized32.compact import read_compact_state
from rlvr_world_hf.worlds.bytesized32.prompts import ANNOUNCED, read_object_step, write_answer, write_prompt
from rlvr_world_hf.worlds.bytesized32.state import object_state_text, state_entries


STAGES = {
    "current_state": "1|box|Box|-isOpen;age=0\n2|cup|Cup|",
    "action_state": "1|box|Box|+isOpen;age=0\n2|cup|Cup|",
    "tick_state": "1|box|Box|+isOpen;age=1\n2|cup|Cup|",
}
TASKS = {"full": "1|+isOpen;age=1\nscore|score=1", "action": "1|+isOpen", "tick": "1|age=1", "score": "score|score=1"}
RULES = {"boxes": {"object_rules": "A box.", "action_rules": "open: opens", "score_rules": "One point."}}


def record(action="open box (ID: 1)"):
    stages = {
        name: {
            "objects": list(read_compact_state(f"{lines}\nscore|").objects.values()),
            "taskDesc": "Open it.",
            "lastAction": action,
            "max_UUID": 3,
        }
        for name, lines in STAGES.items()
    }
    return stages | {"current_score_state": {"score": 0}, "next_score_state": {"score": 1}, "game": "boxes"}


@pytest.mark.parametrize("answer", ["difference", "state"])
@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_an_answer_leads_to_the_following_state(task, compact, answer):
    step = read_object_step(record(), task)
    written = write_answer(step, answer, compact=compact)
    reached = read_following_state(written, step.current)
    assert (state_entries(reached), reached.score) == (state_entries(step.following), step.following.score)
    if compact and answer == "difference":
        assert written == TASKS[task]


def test_a_compact_prompt_is_short():
    step = read_object_step(record(), "full")
    prompt = write_prompt(step, task="full", answer="difference", compact=True)
    assert prompt == f"boxes\nnext 3\n{STAGES['current_state']}\nscore|score=0\n> open box@1\n"
    solved = write_prompt(step, task="full", answer="difference", compact=True, examples=[step])
    assert solved == f"{prompt}{TASKS['full']}\n{prompt}"


@pytest.mark.parametrize(
    ("task", "told"), [("full", (1, 1, 1)), ("action", (1, 1, 0)), ("tick", (1, 0, 0)), ("score", (1, 0, 1))]
)
@pytest.mark.parametrize("compact", [False, True])
def test_a_prompt_tells_the_rules_of_its_task(task, told, compact):
    step = read_object_step(record(), task)
    prompt = write_prompt(step, task=task, answer="difference", compact=compact, rules=RULES, examples=[step])
    assert [prompt.count(text) // 2 for text in RULES["boxes"].values()] == list(told)
    assert prompt.count("Open it.") == 2 and "Gold" not in prompt


def test_a_prompt_holds_state_action_and_form():
    step = read_object_step(record(), "full")
    prompt = write_prompt(step, task="full", answer="difference", compact=False, examples=[step, step])
    assert prompt.count(object_state_text(step.current)) == 3 and prompt.count(ANNOUNCED) == 3
    assert '"modified"' in prompt.partition("Solved")[0] and prompt.endswith(f'"{ANNOUNCED}"')
    assert write_prompt(step, task="full", answer="state", compact=False).count("modified") == 0
