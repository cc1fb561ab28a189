"""A recorded start that lies beside a checkpoint, so that it can be tried without a simulator or data of one's own."""

import os
import zipfile
from pathlib import Path

import numpy as np

from ..data.episode import Episode


EXAMPLE = "example.npz"
"""The file: `episode_id`, `frames (T, 3, H, W)` uint8, `actions (T, A)` float32, `fps`, `states (T, P)` float32."""


def load_example(folder: str | os.PathLike[str]) -> Episode:
    """
    The recorded episode that lies with a checkpoint, or with its card one folder above.

    Args:
        folder (`str` or `PathLike`):
            The checkpoint.

    Returns:
        `Episode`: frames or states, and the actions taken.

    Raises:
        FileNotFoundError: If none lies there.
        ValueError: If the file is no such archive; nothing pickled is loaded.

    Example:

    ```python
    >>> from rlvr_world_hf.hub.bundled import bundled_path
    >>> episode = load_example(bundled_path("pusht-rlvr"))
    >>> episode.frames.shape, episode.actions.shape, episode.fps
    ((6, 3, 64, 64), (6, 10), 2.0)

    ```
    """
    places = [Path(folder) / EXAMPLE, Path(folder).parent / EXAMPLE]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise FileNotFoundError(
            f"Expected a recorded example at {places[0]} or {places[1]}, found none; only some checkpoints come with "
            "one. Give frames and actions of your own."
        )
    try:
        with np.load(file, allow_pickle=False) as arrays:
            states, frames = (arrays[name] if name in arrays.files else None for name in ("states", "frames"))
            name, actions, fps = str(arrays["episode_id"]), arrays["actions"], float(arrays["fps"])
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"Expected {file} to hold plain arrays `episode_id`, `frames` or `states`, `actions` and `fps`, given: "
            f"{error}. Write it by `np.savez_compressed`."
        ) from error
    return Episode(episode_id=name, frames=frames, actions=actions, fps=fps, states=states)
