"""
Times the prediction of candidates, as planning needs it, with whichever `rlvr_world_hf` is imported.

`run.py` starts it with today's code and with that of an earlier commit, so it uses only what both have.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
from memory import forget_peak, own_peak

import rlvr_world_hf


WARM_UPS = 2


def main() -> None:
    """Writes the likeliest predictions, as planners ask for them, and says what a call takes and which code it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("situation", type=Path, help="an .npz file of frames and of each candidate's actions")
    parser.add_argument("predicted", type=Path, help="an .npy file for the frames it predicts")
    parser.add_argument("--calls", type=int, default=5)
    given = parser.parse_args()
    world = rlvr_world_hf.WorldModelPipeline.from_pretrained(given.checkpoint)
    situation = np.load(given.situation)
    frames, actions = situation["frames"], situation["actions"]
    forget_peak()
    before, seconds = own_peak(), []
    for _ in range(WARM_UPS + given.calls):
        start = time.perf_counter()
        predicted = world.predict_candidates(frames, actions, temperature=0.0)
        seconds.append(time.perf_counter() - start)
    added = own_peak() - before
    np.save(given.predicted, predicted.numpy())
    said = {
        "planning": median(seconds[WARM_UPS:]),
        "peak_memory": added,
        "code": str(Path(rlvr_world_hf.__file__).resolve().parents[1]),
        "dtype": str(world.model.dtype),
    }
    sys.stdout.write(f"\n{json.dumps(said)}\n")


if __name__ == "__main__":
    main()
