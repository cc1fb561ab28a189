import numpy as np
import pytest

from rlvr_world_hf.playground.drawing import enlarge
from rlvr_world_hf.worlds.pusht.drawing import INK, draw_plan, target_at
from rlvr_world_hf.worlds.pusht.playground import Playground
from tests.worlds.pusht.test_playground import PIPELINES


def test_plan_shows_where_the_steps_lead() -> None:
    playground = Playground(PIPELINES, max_steps=5, scripted_steps=3)
    play = playground.start(3)
    plan = playground.plan(play, [(100.0, 400.0), (450.0, 60.0)])
    plain, drawn = enlarge(play.now, 256), draw_plan(play, plan, 256)
    assert drawn.shape == (256, 256, 3)
    for x, y in plan.aims[:3] / 2:
        assert tuple(drawn[round(y), round(x)]) == INK
    x, y = np.array(plan.targets[0]) / 2
    assert tuple(drawn[round(y) - 6, round(x)]) == INK  # beside the number
    assert tuple(plain[round(y) - 6, round(x)]) != INK
    assert np.array_equal(draw_plan(play, playground.plan(play, []), 256), plain)


@pytest.mark.parametrize("size", [16, 256, 512])
def test_a_pixel_shows_the_point_in_its_middle(size: int) -> None:
    x, y = target_at(10, 5, size)
    assert (x * size / 512, y * size / 512) == pytest.approx((10.5, 5.5))
