import subprocess
import sys

import pytest


BAR = """
import sys, time
from tqdm import std
from tqdm.auto import tqdm
from rlvr_world_hf.commands import bars
bars.LINE_EVERY = float(sys.argv[1])
usual = vars(std.tqdm)["__init__"]
with bars.one_line_a_minute():
    for _ in tqdm(range(12), desc="record", disable=None, leave=False):
        for _ in tqdm(range(5), desc="inner"):
            time.sleep(0.01)
    with tqdm(total=40, desc="measure") as bar:
        for count in range(40):
            time.sleep(0.01)
            bar.set_postfix(mae=0.5)  # writes at once, on a terminal
            bar.update()
    assert vars(std.tqdm)["__init__"] is not usual
assert vars(std.tqdm)["__init__"] is usual
"""


@pytest.mark.parametrize(("every", "least", "most"), [(0.2, 3, 9), (60.0, 0, 0)])
def test_a_bar_without_a_terminal_writes_lines_and_few_of_them(every: float, least: int, most: int) -> None:
    """In a process of its own: what is changed is tqdm, for all of it, until the context ends."""
    words = [sys.executable, "-c", BAR, str(every)]
    ended = subprocess.run(words, capture_output=True, check=True)
    text = ended.stderr.decode()
    lines = text.splitlines()
    assert least <= len(lines) <= most, text
    assert "\r" not in text and "\x1b" not in text and "" not in lines
    if lines:
        assert lines[0].startswith("record:") and "/12 [" in lines[0]
        assert lines[-1].startswith("measure: 100%") and "mae=0.5" in lines[-1]
