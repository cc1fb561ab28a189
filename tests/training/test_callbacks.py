from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate.data_loader import prepare_data_loader, skip_first_batches
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from transformers import TrainerControl, TrainerState, TrainingArguments

from rlvr_world_hf.hub.training_checkpoints import trained_seconds
from rlvr_world_hf.training.callbacks import Clock, OrderOfEpoch, PredictionPictures
from rlvr_world_hf.training.length_sampler import LengthSampler
from rlvr_world_hf.training.pretraining import LikelihoodConfig, pretrain, tokenize_rows
from tests.training.world import HORIZON, small_policy, small_processor, small_rows, small_trainer


def test_the_clock_counts_over_interruptions(tmp_path: Path) -> None:
    small_trainer(tmp_path, callbacks=[Clock()], max_steps=2).train()
    until_two = trained_seconds(tmp_path)
    assert until_two > 0
    small_trainer(tmp_path, callbacks=[Clock()], max_steps=4).train(resume_from_checkpoint=True)
    assert trained_seconds(tmp_path) > until_two == trained_seconds(tmp_path, 2)


class Numbers(Dataset):
    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> int:
        return index


@pytest.mark.parametrize("processes", [1, 2])
def test_rows_of_a_resumed_epoch_come_in_its_order(processes: int) -> None:
    def loader() -> Any:
        sampler = LengthSampler([1] * 16, update_size=4, seed=0)
        how = {"num_processes": processes, "process_index": processes - 1, "put_on_device": False}
        return prepare_data_loader(DataLoader(Numbers(), batch_size=2, sampler=sampler), **how)

    orders = []
    for epoch in range(2):
        whole = loader()
        whole.set_epoch(epoch)
        orders.append([batch.tolist() for batch in whole])
    resumed, args = loader(), TrainingArguments(use_cpu=True)
    OrderOfEpoch().on_epoch_begin(args, TrainerState(epoch=1.5), TrainerControl(), train_dataloader=resumed)
    rest = skip_first_batches(resumed, 2)
    rest.set_epoch(1)
    assert [batch.tolist() for batch in rest] == orders[1][2:] != orders[0][2:]


def test_trainers_keep_the_order_of_epochs(tmp_path: Path) -> None:
    seen = []

    def watch(trainer: Any) -> None:
        seen.append(trainer)

    processor = small_processor()
    tokens = tokenize_rows(small_rows(processor, count=8), processor)
    args = LikelihoodConfig(max_steps=1, eval_steps=1, batch_size=8, training_arguments={"disable_tqdm": True})
    pretrain(small_policy(processor), tokens, tokens, output_dir=tmp_path / "base", args=args, watch=watch)
    for trainer in (*seen, small_trainer(tmp_path / "rlvr")):
        assert any(isinstance(callback, OrderOfEpoch) for callback in trainer.callback_handler.callbacks)


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
