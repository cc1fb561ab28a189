"""
What two processes of one `accelerate launch` do together, for the tests in `test_launched.py`.

All of it in one launch, as every process of every launch imports torch and TRL anew. Each part leaves what it made, or
the traceback of what failed, in the folder that is given.
"""

import copy
import os
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from rlvr_world_hf.commands.stage import Processes
from rlvr_world_hf.rollouts import draw_uniforms, sample_completions
from rlvr_world_hf.rollouts.shared_prompt import pack_groups, share_prompts
from rlvr_world_hf.training.parallel import process_part
from rlvr_world_hf.training.range_head import RangeHead, accept_range_head
from tests.training.test_tokenizer_training import ADVERSARIAL, train
from tests.training.world import HORIZON, parameters, small_policy, small_processor, small_trainer


PROCESSES = 2

# Plain gradient descent: Adam would make whole steps of the rounding errors by which one process and two differ.
DESCENT = {"optim": "sgd", "learning_rate": 0.5, "save_strategy": "no", "max_steps": 4, "likelihood_weight": 0.1}
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


def shard_in_a_fork(folder: Path) -> None:
    """
    Shard in a copy of this process that ends at once: a thread of Gloo that still lets go of a tensor while the
    interpreter ends would abort it.
    """
    copied = os.fork()
    if not copied:
        with Attempt(folder, "shard"):
            shard(folder)
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


def train_a_tokenizer(folder: Path) -> None:
    try:
        process_part(3)
    except ValueError as error:
        assert "2 processes can share evenly, got 3" in str(error)
    else:
        raise AssertionError("three items cannot be shared by two processes")
    descend(setattr)
    codec, history = train(folder / "tokenizer", **TOKENIZER_DESCENT)
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
    shard_in_a_fork(folder)
    for work in (train_by_grpo, train_a_tokenizer, part):
        with Attempt(folder, work.__name__):
            work(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
