"""The text playground where TextWorld is not installed, in a process that has imported nothing of it."""

import sys


def play() -> None:
    """In a fork: read a state, then ask for a game."""
    assert not [name for name in sys.modules if name.startswith(("textworld", "rlvr_world_hf.worlds.textworld"))]
    sys.modules["textworld"] = None  # type: ignore[assignment]
    from rlvr_world_hf.worlds.textworld.playground import TextGames, read_state

    state = read_state('["closed(box)"]')
    sys.stdout.write(f"{state.facts}\n")
    TextGames().situation(0)
