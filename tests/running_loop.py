"""Gradio makes event loops for a page's locks and never closes them, unless one is running: here is a running one."""

import asyncio
from collections.abc import Callable
from typing import Any


def in_running_loop(function: Callable[..., Any], *arguments: Any) -> Any:
    async def call() -> Any:
        return function(*arguments)

    return asyncio.run(call())
