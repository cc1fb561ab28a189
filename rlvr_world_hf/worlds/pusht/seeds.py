"""
Which seeds of PushT are for what. No two parts share an episode.

A recipe names its part by `collect.first_seed`: its training episodes have seeds from there on, and the stage collect
adds the offset of a split for its validation and test episodes.
"""

from __future__ import annotations

from collections.abc import Mapping


SEEDS: Mapping[str, range] = {
    "base": range(0, 90_000),
    "starts": range(90_000, 100_000),
    "inverse_model": range(100_000, 200_000),
    "judge": range(200_000, 300_000),
    "validation": range(1_000_000, 2_000_000),
    "test": range(2_000_000, 3_000_000),
    "applications": range(5_000_000, 10_000_000),
}
"""
Part -> its seeds:

- `base`: trains world models, by likelihood and by RL;
- `starts`: of planning at the public protocol;
- `inverse_model`: trains models that read actions from frames;
- `judge`: trains models that judge what others predict;
- `validation` and `test`: choose and measure any of them; see `runs/kinds/kind.py`, `SPLITS`;
- `applications`: starts and scenes of the findings, and of examples.
"""
