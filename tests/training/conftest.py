"""Warnings of the host that no setting of ours avoids."""

import pytest


# TRL 1.16 reads and calls what transformers 5.23 has renamed to `activation_checkpointing`.
HOST_WARNINGS = (
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:`gradient_checkpointing:FutureWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/training" in item.path.as_posix():
            for warning in HOST_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))
