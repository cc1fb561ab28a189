"""
How a page answers what it cannot use: in a sentence, and only through its queue.

Gradio answers `{"error": null}` to every error but its own, and HTTP 500 to a name or an argument that it does not
know. Its private handlers answer to their names all the same, and direct calls pass the queue.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.route_utils import FnIndexInferError
from gradio.routes import JSONResponse  # FastAPI's, which a page requires through Gradio alone

from .values import SHORT


MAX_WAITING = 32
"""Calls that wait in a page's queue; the next one is refused."""

REFUSALS = (ValueError, TypeError, FileNotFoundError, ImportError)
"""Errors whose words are meant for the visitor."""

SECONDS = 15
"""How long a page shows them."""

TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "number": (int, float),
    "integer": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}
"""Types of values by the names of JSON Schema."""


def as_error(error: Exception) -> gr.Error:
    """
    An error in words, as a page shows it.

    Args:
        error (`Exception`):
            What was raised.

    Returns:
        `gradio.Error`: the words of a refusal; of any other error, that the page could not use what it was given.

    Example:

    ```python
    >>> print(as_error(ValueError("Expected a fact, got none; type one.")))
    'Expected a fact, got none; type one.'

    ```
    """
    if isinstance(error, gr.Error):
        return error
    if isinstance(error, REFUSALS) and str(error):
        return gr.Error(str(error), duration=SECONDS)
    return gr.Error(
        f"This page cannot use what it was given, and ended in {type(error).__name__} ({error!s:.120}). Give values "
        "as its API describes them, which the footer links to; if these are such values, report it as a bug.",
        duration=SECONDS,
    )


class AnsweringPage:
    """
    What a page of Gradio inherits, before `gradio.Blocks` or `gradio.Interface`, to answer in words.

    Each call waits in the queue: `/run/NAME` and `/api/NAME` are closed, and private handlers have no name, so that
    only the page's own buttons reach them.

    Example:

    ```python
    >>> class Page(AnsweringPage, gr.Blocks): ...
    >>> [name for name in ("queue", "launch", "process_api") if getattr(Page, name) is getattr(gr.Blocks, name)]
    []

    ```
    """

    def queue(self, *arguments: Any, **settings: Any) -> Any:
        """`gradio.Blocks.queue` that nothing passes by, of at most `MAX_WAITING` calls if no `max_size` is given."""
        page: Any = super()
        for handler in self.fns.values():  # type: ignore[attr-defined]
            if handler.api_visibility == "private":
                handler.api_name = None
        return page.queue(*arguments, **{"max_size": MAX_WAITING, **settings, "api_open": False})

    def launch(self, *arguments: Any, **settings: Any) -> Any:
        """`gradio.Blocks.launch` of a page that also answers in words to unknown names and arguments."""
        page: Any = super()
        answers = {FnIndexInferError: _unknown, KeyError: _unknown, TypeError: _unusable, ValueError: _unusable}
        return page.launch(*arguments, **settings, app_kwargs={"exception_handlers": answers})

    def validate_inputs(self, block_fn: Any, inputs: Sequence[Any]) -> None:
        """
        Refuses a call with fewer or more values than a handler takes, of another type, or longer than its fields.

        Args:
            block_fn (`gradio.blocks.BlockFunction`):
                The handler.
            inputs (`Sequence[Any]`):
                What was given, as JSON.

        Raises:
            gradio.Error: If it cannot be used.
        """
        names = _names_of(block_fn)
        if len(inputs) != len(names) and not block_fn.cancels:
            expected = f"{len(names)} values ({', '.join(names)})" if names else "no values"
            raise gr.Error(
                f"Expected {expected}, got {len(inputs)}; give all of them, in this order.", print_exception=False
            )
        for name, block, value in zip(names, block_fn.inputs, inputs, strict=False):
            if block.stateful or value is None:  # an empty field is None
                continue
            kind = block.api_info().get("type") if block_fn.preprocess else None
            most = getattr(block, "max_length", None)
            if kind in TYPES and not isinstance(value, TYPES[kind]):
                raise gr.Error(
                    f"Expected `{name}` to be of type {kind}, got {SHORT.repr(value)}; give such a value.",
                    print_exception=False,
                )
            if most is not None and isinstance(value, str) and len(value) > most:
                raise gr.Error(
                    f"Expected `{name}` of at most {most} characters, got {len(value)}; shorten it.",
                    print_exception=False,
                )

    async def process_api(self, *arguments: Any, **settings: Any) -> Any:
        """`gradio.Blocks.process_api`, all of whose errors have words; see `as_error`."""
        page: Any = super()
        try:
            return await page.process_api(*arguments, **settings)
        except Exception as error:
            raise as_error(error) from error


def _names_of(handler: Any) -> list[str]:
    """What the values of a handler are called: its arguments where they are one to one, else its fields."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(handler.fn).parameters.values() if handler.fn else ()
    names = [parameter.name for parameter in parameters if parameter.kind in kinds]
    if len(names) == len(handler.inputs) and len(names) == len(parameters):
        return names
    return [getattr(block, "label", None) or block.get_block_name() for block in handler.inputs]


def _unknown(request: Any, error: Exception) -> JSONResponse:
    """404."""
    words = f"Expected the name of a public endpoint, got {request.url.path[:120]}; the page's API lists them."
    return JSONResponse({"error": words}, status_code=404)


def _unusable(request: Any, error: Exception) -> JSONResponse:
    """422."""
    return JSONResponse({"error": f"Expected the arguments that the page's API lists: {error}"}, status_code=422)
