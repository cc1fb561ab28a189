"""
What two processes of one `accelerate launch` do together, for the tests in `test_launched.py`.

All of it in one launch, as every process of every launch imports torch and TRL anew. Each part leaves what it made, or
the traceback of what failed, in the folder that is given.
"""

import copy
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from datasets import Dataset
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from rlvr_world_hf import LanguageWorldModelProcessor
from rlvr_world_hf.evaluation.answers import predict_answers
from rlvr_world_hf.evaluation.comparison import evaluate
from rlvr_world_hf.evaluation.draws import BestSampling, Draws
from rlvr_world_hf.evaluation.predictions import Sampling
from rlvr_world_hf.evaluation.sharing import ALONE
from rlvr_world_hf.rewards.pixel import MAEReward
from rlvr_world_hf.rollouts import decoder, draw_uniforms, sample_completions
from rlvr_world_hf.rollouts.head import RangeHead, accept_range_head
from rlvr_world_hf.rollouts.shared_prompt import pack_groups, share_prompts
from rlvr_world_hf.rollouts.text import sample_text
from rlvr_world_hf.runs.processes import Processes
from rlvr_world_hf.training.language import OF_TEXT, AnswerTrainer, FinetuningConfig, tokenize_transitions
from rlvr_world_hf.training.parallel import process_part
from tests.tiny import text_tokenizer, tiny_language_model
from tests.training.test_tokenizer_training import ADVERSARIAL, make_codec, train
from tests.training.world import (
    HORIZON,
    PartlyFlat,
    parameters,
    small_policy,
    small_processor,
    small_rows,
    small_trainer,
)


PROCESSES = 2

UNEVEN = (3, 5, 6)
"""Numbers of rows: of the last batches of two, the processes have two rows and one, one and none, two and none."""

TIME_OUT = 2.0
"""Seconds after which the process group of some tests gives up."""

# Plain gradient descent: Adam would make whole steps of the rounding errors by which one process and two differ.
DESCENT = {"optim": "sgd", "learning_rate": 0.5, "save_strategy": "no", "max_steps": 4, "likelihood_weight": 0.1}
RESAMPLED = {
    "whole groups": {"per_device_train_batch_size": 16, "max_resampling_rounds": 2},
    "shared groups": {
        "per_device_train_batch_size": 4, "gradient_accumulation_steps": 3, "max_resampling_rounds": 2,
        "updates_per_generation": 1,
    },
}  # fmt: skip
TOKENIZER_DESCENT = ADVERSARIAL | {"learning_rate": 0.05}


def descend(patch: Any) -> None:
    """Have the optimizers of the tokenizer's training replaced by plain gradient descent, by a `setattr`."""
    for name in ("Adam", "AdamW"):
        patch(torch.optim, name, lambda parameters, lr=0.01, **_: torch.optim.SGD(parameters, lr=lr))


class Attempt:
    """A part of the work, ended by what is raised in it: an empty file says that it was done, a traceback why not."""

    def __init__(self, folder: Path, part: str) -> None:
        self._file = folder / f"{part}-{os.environ['RANK']}.txt"

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        self._file.write_text("".join(traceback.format_exception(error)) if error else "")
        return True


def shard(folder: Path) -> None:
    """Sample and differentiate with sharded parameters: as with whole ones."""
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=PROCESSES)
    processor = small_processor()
    ranges, mask = processor.token_ranges(HORIZON), processor.model_token_mask(HORIZON)
    model, head = small_policy(processor), RangeHead.of(processor, HORIZON)
    accept_range_head(model)
    assert share_prompts(model) is None
    whole = copy.deepcopy(model)
    mesh = init_device_mesh("cpu", (PROCESSES,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())

    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(0, 6, (2, processor.layout.prompt_length), generator=generator)
    world = torch.where(mask, -1, ranges[:, 0])[None].repeat(2, 1)
    ids = {}
    for name, policy in (("whole", whole), ("sharded", model)):
        noise = draw_uniforms(range(2), 4, head.length)
        ids[name] = sample_completions(policy, prompts, world, ranges, num_samples=4, uniforms=noise)
    assert torch.equal(ids["whole"], ids["sharded"])

    def loss(policy: Any, completions: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        rows = torch.cat([prompt.repeat_interleave(4, 0), completions], dim=1)
        inputs = pack_groups(rows, torch.ones_like(rows), completion_length=head.length)
        return policy(**inputs, range_head=head, completion_ids=completions)[0].mean()

    loss(whole, ids["whole"], prompts).backward()
    loss(model, ids["whole"].chunk(2)[rank], prompts[rank][None]).backward()  # one group a process
    for sharded, parameter in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(sharded.grad.full_tensor(), parameter.grad, atol=1e-6, rtol=1e-5)
    dist.destroy_process_group()


def sample_unevenly(folder: Path) -> None:
    """With sharded parameters, sample other numbers of tokens and of parts than the other process does."""
    rank = int(os.environ["RANK"])
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'uneven'}",
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=60),
    )
    model = tiny_language_model(text_tokenizer())
    whole = copy.deepcopy(model)
    mesh = init_device_mesh("cpu", (PROCESSES,))
    for part in (*model.model.layers, model.lm_head, model):
        fully_shard(part, mesh=mesh)
    decoder.CACHE_BYTES = 0  # a part has one prompt
    prompts = [[[1, 2, 3], [4, 5], [6]], [[7, 8]]][rank]
    # What the first process writes ends at once, then late; what the second writes never ends.
    for ends in ([range(300), []], [[], range(300)], [range(0, 300, 9), []]):
        settings = {"num_samples": 2, "max_new_tokens": 9, "end_ids": ends[rank], "seeds": range(len(prompts))}
        assert sample_text(model, prompts, **settings) == sample_text(whole, prompts, **settings)

    world, ranges = torch.full((len(prompts), 4), -1), torch.tensor([[0, 9], [3, 40], [0, 9], [50, 60]])
    noise, ids = draw_uniforms(range(len(prompts)), 2, 4), torch.arange(3 * len(prompts)).view(-1, 3)
    drawn = [
        sample_completions(policy, ids, world, ranges, num_samples=2, uniforms=noise, return_logprobs=True)
        for policy in (model, whole)
    ]
    assert torch.equal(drawn[0][0], drawn[1][0])
    torch.testing.assert_close(drawn[0][1], drawn[1][1])

    # A head that is a shard of its own gathers its weights itself, and its gradient is reduced as all others are.
    rows, head = torch.arange(14).view(2, 7), RangeHead(ranges, torch.ones(4, dtype=torch.bool))
    completions = rows[:, -4:].clamp(ranges[:, 0], ranges[:, 1] - 1)
    for policy, mine in ((model, slice(rank, rank + 1)), (whole, slice(None))):
        accept_range_head(policy)
        policy(input_ids=rows[mine], range_head=head, completion_ids=completions[mine])[0].mean().backward()
    for sharded, parameter in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(sharded.grad.full_tensor(), parameter.grad, atol=1e-6, rtol=1e-5)
    dist.destroy_process_group()


def outlive_the_time_out(folder: Path) -> None:
    """Wait for what one process does alone for longer than the process group has patience."""
    with impatient_group(folder / "patience"):
        processes = Processes()
        with processes.first_before_others():
            if processes.is_first:
                time.sleep(2 * TIME_OUT)
                (folder / "first").touch()
            assert (folder / "first").exists()
        if processes.is_first:
            time.sleep(2 * TIME_OUT)
            (folder / "second").touch()
        processes.wait()
        assert (folder / "second").exists()


def measure_together(folder: Path) -> None:
    """Measure checkpoints as one process does, to the last bit, in half the batches each."""
    with impatient_group(folder / "measured"):
        processes, processor = Processes(), small_processor()
        share = processes.share
        assert (share.process, share.processes) == (dist.get_rank(), PROCESSES)
        assert processes.exchange(dist.get_rank()) == [0, 1]
        measured = []

        class Counted(MAEReward):
            def measure(self, predicted: torch.Tensor, reference: torch.Tensor, **further: Any) -> torch.Tensor:
                measured.append(len(predicted))
                return super().measure(predicted, reference, **further)

        def measure(share: Any) -> Any:
            measured.clear()
            return evaluate(
                {"base": (small_policy(processor), processor)},
                small_rows(processor, count=7),
                recipe="pusht/debug",
                rewarded=["mae"],
                draws=Draws(sampling=Sampling(), seeds=(0, 1)),
                best_sampling=BestSampling(rows=small_rows(processor, count=8, seed=1), checkpoints=("base",)),
                metrics=[Counted()],
                batch_size=4,  # predictions: two rows of two seeds, and the last row alone
                share=share,
            )

        together, rows_together = measure(share), sum(measured)
        assert together == measure(ALONE)
        assert 0 < rows_together < 0.6 * sum(measured)
        # Among seven prompts in batches of two, the second process has one fewer than the first.
        language = LanguageWorldModelProcessor(text_tokenizer())
        arguments = (tiny_language_model(language.tokenizer), language, {"prompt": [*"abcabca"]})
        settings = {"sampling": Sampling(), "sampling_seeds": [0, 1], "max_new_tokens": 4, "batch_size": 2}
        answers = predict_answers(*arguments, **settings, share=share)
        assert answers == predict_answers(*arguments, **settings)


@contextmanager
def impatient_group(place: Path) -> Iterator[None]:
    """A process group that gives up after [`TIME_OUT`][] seconds, which it is not asked to wait for its own start."""
    place.with_suffix(f".{os.environ['RANK']}").touch()
    while len([*place.parent.glob(f"{place.name}.*")]) < PROCESSES:
        time.sleep(0.01)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{place}",
        rank=int(os.environ["RANK"]),
        world_size=PROCESSES,
        timeout=timedelta(seconds=TIME_OUT),
    )
    yield
    dist.destroy_process_group()


def in_a_fork(work: Callable[[Path], None], folder: Path) -> None:
    """
    Work in a copy of this process that ends at once: a thread of Gloo that still lets go of a tensor while the
    interpreter ends would abort it. A process group of the copy is none of this process.
    """
    copied = os.fork()
    if not copied:
        with Attempt(folder, work.__name__):
            work(folder)
        os._exit(0)
    os.waitpid(copied, 0)


def train_by_grpo(folder: Path) -> None:
    trainer = small_trainer(folder / "grpo", per_device_train_batch_size=8, **DESCENT)
    trainer.train()
    if trainer.is_world_process_zero():
        rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
        policy = trainer.accelerator.unwrap_model(trainer.model)
        torch.save((parameters(policy), rewards, trainer.accelerator.num_processes), folder / "grpo.pt")
    trainer.accelerator.wait_for_everyone()


def resample(folder: Path) -> None:
    """Replace groups whose rewards are all equal, also such as two processes share."""
    for name, changes in RESAMPLED.items():
        how = DESCENT | changes | {"per_device_train_batch_size": changes["per_device_train_batch_size"] // PROCESSES}
        trainer = small_trainer(folder / name, rewards=PartlyFlat(), **how)
        trainer.train()
        if trainer.is_world_process_zero():
            policy = trainer.accelerator.unwrap_model(trainer.model)
            torch.save((parameters(policy), resampled(trainer)), folder / f"{name}.pt")
        trainer.accelerator.wait_for_everyone()


def resampled(trainer: Any) -> list[dict[str, float]]:
    """What the log says of rounds and replaced groups."""
    log = trainer.state.log_history
    entries = [{name: entry[name] for name in entry if name.startswith("resampling/")} for entry in log]
    return [entry for entry in entries if entry]


def evaluate_answers(folder: Path) -> None:
    """The validation loss in nats an answer, of numbers of rows that two processes cannot share evenly."""
    nats = {count: nats_per_answer(folder / f"answers{count}", count) for count in UNEVEN}
    if dist.get_rank() == 0:
        torch.save(nats, folder / "nats.pt")


def nats_per_answer(folder: Path, count: int) -> float:
    """That of so many answers, each of another length, by a model that knows nothing."""
    processor = LanguageWorldModelProcessor(text_tokenizer())
    columns = {"prompt": ["> open\n"] * count, "completion": ["open " * (number + 1) ** 2 for number in range(count)]}
    tokens = tokenize_transitions(Dataset.from_dict(columns), processor, max_length=256)
    arguments = {"per_device_eval_batch_size": 2, "disable_tqdm": True, "report_to": "none", "save_strategy": "no"}
    settings = FinetuningConfig(str(folder), use_cpu=True, bf16=False, **OF_TEXT | arguments)
    model = tiny_language_model(processor.tokenizer)
    trainer = AnswerTrainer(
        model, settings, train_dataset=tokens, eval_dataset=tokens, processing_class=processor.tokenizer
    )
    return trainer.evaluate()["eval_nats_per_answer"]


def train_a_tokenizer(folder: Path) -> None:
    try:
        process_part(3)
    except ValueError as error:
        assert "2 processes can share evenly, got 3" in str(error)
    else:
        raise AssertionError("three items cannot be shared by two processes")
    descend(setattr)
    codec, history = train(folder / "tokenizer", make_codec(seed=dist.get_rank()), **TOKENIZER_DESCENT)
    if dist.get_rank() == 0:
        torch.save((codec.state_dict(), history), folder / "tokenizer.pt")


def part(folder: Path) -> None:
    """Part as a stage of a run does; what is left to do afterwards is to exit."""
    processes = Processes()
    assert dist.is_initialized() and dist.get_world_size() == PROCESSES
    assert processes.is_first == (dist.get_rank() == 0)
    processes.wait()
    processes.part()
    assert not dist.is_initialized()
    (folder / f"parted{int(processes.is_first)}").touch()


def main(folder: Path) -> None:
    for work in (shard, sample_unevenly, outlive_the_time_out, measure_together):
        in_a_fork(work, folder)
    for work in (train_by_grpo, resample, evaluate_answers, train_a_tokenizer, part):
        with Attempt(folder, work.__name__):
            work(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
