"""
Which settings of a stage shape its result: all but those named here, keys with `affects_result=False`, and defaults
of keys with `counts_at_default=False`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from .keys import FORWARDED, keys_of


ABOUT_REPORTS = {
    "disable_tqdm",
    "include_num_input_tokens_seen",
    "log_completions",
    "log_completions_hub_repo",
    "log_level",
    "log_level_replica",
    "log_multimodal",
    "log_on_each_node",
    "log_unique_prompts",
    "logging_first_step",
    "logging_nan_inf_filter",
    "logging_steps",
    "logging_strategy",
    "num_completions_to_print",
    "project",
    "report_to",
    "run_name",
    "skip_memory_metrics",
    "trackio_bucket_id",
    "trackio_space_id",
    "trackio_static_space_id",
}
"""What is logged, where and how often."""

ABOUT_LOADING = {
    "dataloader_multiprocessing_context",
    "dataloader_num_workers",
    "dataloader_persistent_workers",
    "dataloader_pin_memory",
    "dataloader_prefetch_factor",
    "dataset_num_proc",
}
"""How batches are brought to the device; which rows are in them stays the same."""

ABOUT_THE_HUB = {
    "hub_always_push",
    "hub_model_id",
    "hub_private_repo",
    "hub_revision",
    "hub_strategy",
    "hub_token",
    "push_to_hub",
}
"""Where checkpoints are pushed while training goes on."""

ABOUT_DEVICES = {
    "ddp_backend",
    "ddp_bucket_cap_mb",
    "ddp_find_unused_parameters",
    "ddp_static_graph",
    "ddp_timeout",
    "local_rank",
    "torch_empty_cache_steps",
    "use_cpu",
    "vllm_gpu_memory_utilization",
    "vllm_group_port",
    "vllm_server_base_url",
    "vllm_server_host",
    "vllm_server_port",
    "vllm_server_timeout",
}
"""Where it is computed; precision is none of these."""

ABOUT_RESUMING = {
    "enable_jit_checkpoint",
    "eval_accumulation_steps",
    "per_device_eval_batch_size",
    "save_on_each_node",
    "save_only_model",
    "save_total_limit",
    "validation_batch_size",
}
"""Which checkpoints are kept, and memory of evaluation."""

CADENCE = {
    "eval_delay",
    "eval_on_start",
    "eval_steps",
    "eval_strategy",
    "num_generations_eval",
    "save_steps",
    "save_strategy",
    "validation_batches",
    "validation_windows",
}
"""When a training is evaluated and saved: shapes the result where the best checkpoint is chosen, and only there."""

LOSS = "loss"
"""What likelihood trainings choose their checkpoint by, unless a recipe says otherwise."""

LAST = "last"
"""What RL keeps, unless a recipe says otherwise: its last checkpoint."""

NO_EFFECT = ABOUT_REPORTS | ABOUT_LOADING | ABOUT_THE_HUB | ABOUT_DEVICES | ABOUT_RESUMING
"""Keys of the trainers' settings that leave the result as it is."""


def settings_of_result(settings: Any) -> dict[str, Any]:
    """
    The settings of a stage that shape its result.

    Args:
        settings (`Any`):
            Filled settings of a stage: its own keys, and those that it forwards to a trainer under `arguments`.

    Returns:
        `dict[str, Any]`: By name; forwarded ones under `arguments`.

    Example:

    ```python
    >>> from rlvr_world_hf.runs.stages.grpo import GrpoSettings
    >>> settings_of_result(GrpoSettings(arguments={"beta": 0.1, "run_name": "first"}))["arguments"]
    {'beta': 0.1}

    ```
    """
    content = dataclasses.asdict(settings)
    forwarded = content.pop(FORWARDED, None)
    for name, known in keys_of(type(settings)).items():
        if not known.affects_result or (not known.counts_at_default and content[name] == known.default):
            del content[name]
    if content.get("lr_scheduler_type", "") is None:  # of control: as before it had a schedule of its own
        del content["lr_scheduler_type"], content["warmup_steps"]
    if forwarded is None:
        return content
    if content.get("choose_by") in (LOSS, LAST):  # then nothing that is measured shapes the result
        del content["choose_by"], content["measured_windows"]
    # Stages that train have a precision; a world's own keys mean whatever it says.
    if "bf16" not in content:
        return content | {FORWARDED: forwarded}
    chooses = getattr(settings, "chooses_best", False) or forwarded.get("load_best_model_at_end", False)
    without = NO_EFFECT if chooses else NO_EFFECT | CADENCE
    if not chooses and "validation_windows" in content:
        del content["validation_windows"]
    return content | {FORWARDED: {name: value for name, value in forwarded.items() if name not in without}}
