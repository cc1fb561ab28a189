from pathlib import Path

import numpy as np
from PIL import Image

from rlvr_world_hf.hub.training_checkpoints import trained_seconds
from rlvr_world_hf.training.callbacks import Clock, PredictionPictures
from tests.training.world import HORIZON, small_processor, small_rows, small_trainer


def test_the_clock_counts_over_interruptions(tmp_path: Path) -> None:
    small_trainer(tmp_path, callbacks=[Clock()], max_steps=2).train()
    until_two = trained_seconds(tmp_path)
    assert until_two > 0
    small_trainer(tmp_path, callbacks=[Clock()], max_steps=4).train(resume_from_checkpoint=True)
    assert trained_seconds(tmp_path) > until_two == trained_seconds(tmp_path, 2)


def test_pictures_show_predictions_below_references(tmp_path: Path) -> None:
    processor = small_processor()
    rows = small_rows(processor, count=3)
    pictures = PredictionPictures(processor, rows, every_steps=2)
    trainer = small_trainer(tmp_path, callbacks=[pictures], max_steps=4, save_strategy="no")
    trainer.train()
    files = sorted((tmp_path / "predictions").iterdir())
    assert [file.name for file in files] == ["step_000002.png", "step_000004.png"]
    picture = np.asarray(Image.open(files[0]))
    assert picture.shape == (3 * 2 * 16, (1 + HORIZON) * 16, 3)
    reference = rows[1]["reference"].transpose(2, 0, 3, 1).reshape(16, -1, 3)
    assert np.array_equal(picture[2 * 16 : 3 * 16, 16:], reference)
    given = rows[1]["context"][0].transpose(1, 2, 0)
    assert np.array_equal(picture[2 * 16 : 3 * 16, :16], given) and np.array_equal(
        picture[3 * 16 : 4 * 16, :16], given
    )
