"""A world of text as tokens: any tokenizer of transformers, with or without a chat template."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from .base import WorldModelProcessor


Prompt = str | Sequence[dict[str, str]]

# Here and not taken from `states`, as this file travels to the Hub without that room.
ANSWER_MARKERS = ("The final answer is:", "The final state is:", "</think>")
"""Markers between reasoning and answer, in upper or lower case; the last one in a completion counts."""


class LanguageWorldModelProcessor(WorldModelProcessor):
    r"""
    Writes state and action of a text world as a prompt, and reads the answer from a completion.

    Prompts are texts, or conversations where the tokenizer has a chat template; completions end with the end token and
    may end early. The world's state class knows what an answer means: `decode_state` takes its `parse` as an argument.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]):
            Any tokenizer with an end token.
        prompt_template (`str`, *optional*):
            Template of a prompt, with `{state}` and `{action}`; needed to predict from a state and an action.
        answer_markers (`Sequence[str]`, *optional*, defaults to `ANSWER_MARKERS`):
            Markers between reasoning and answer.

    Raises:
        ValueError: if the tokenizer has no end token, or the template lacks one of the two fields.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> words = {word: index for index, word in enumerate("<eos> door : shut open > +".split())}
        >>> backend = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
        >>> backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")
        >>> processor = LanguageWorldModelProcessor(tokenizer, prompt_template="{state} > {action}")
        >>> prompt = processor.write_prompt("door : shut", "open door")
        >>> processor.encode_prompt([prompt]), processor.encode_completion(["+ open"])
        ([[1, 2, 3, 5, 4, 1]], [[6, 4, 0]])
        >>> processor.decode_state([[6, 4, 0]])
        ['+ open']
    """

    predicts = ("text",)
    prompt_columns = ("prompt",)
    reference_columns = ("completion",)
    fixed_length = False

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        prompt_template: str | None = None,
        answer_markers: Sequence[str] = ANSWER_MARKERS,
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise ValueError("Expected a tokenizer with an end token, got one without; set its `eos_token`.")
        if prompt_template is not None and not all(name in prompt_template for name in ("{state}", "{action}")):
            raise ValueError(
                f"Expected a template with {{state}} and {{action}}, got {prompt_template!r}; name both fields."
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        tokenizer.padding_side = "left"  # so that generation continues at the last token of each prompt
        self.prompt_template = prompt_template
        self.answer_markers = list(answer_markers)
        super().__init__(tokenizer)

    def write_prompt(self, state: str, action: str) -> str:
        """
        The prompt of a state and an action.

        Args:
            state (`str`): the state, in the world's own text.
            action (`str`): the action.

        Returns:
            `str`: the template, filled in.

        Raises:
            ValueError: if there is no template.
        """
        if self.prompt_template is None:
            raise ValueError("This processor has no `prompt_template`; give whole prompts, or set one.")
        # Not `str.format`: a state may contain braces, even `{action}`, and is written as it is.
        before, _, after = self.prompt_template.partition("{state}")
        return before.replace("{action}", action) + state + after.replace("{action}", action)

    def encode_prompt(self, prompt: Sequence[Prompt]) -> list[list[int]]:
        """
        Token ids of prompts.

        Args:
            prompt (`Sequence` of `str` or of messages): texts or conversations.

        Returns:
            `list[list[int]]`: of each prompt, not padded; a conversation ends where the assistant is to begin.

        Raises:
            ValueError: for a conversation, if the tokenizer has no chat template.
        """
        # A chat template writes the special tokens itself.
        return [self.tokenizer(self.render(one), add_special_tokens=isinstance(one, str)).input_ids for one in prompt]

    def render(self, prompt: Prompt) -> str:
        """
        A prompt as the text that the model sees.

        Args:
            prompt (`str` or messages): a text, or a conversation.

        Returns:
            `str`: a text as it is; a conversation by the chat template.

        Raises:
            ValueError: for a conversation, if the tokenizer has no chat template.
        """
        if isinstance(prompt, str):
            return prompt
        if self.tokenizer.chat_template is None:
            raise ValueError("A conversation needs a chat template, and this tokenizer has none; give texts.")
        return self.tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)

    def encode_completion(self, completion: Sequence[str]) -> list[list[int]]:
        """
        Token ids of answers: the target of likelihood training.

        Args:
            completion (`Sequence[str]`): what the model should write.

        Returns:
            `list[list[int]]`: of each, with the end token, not padded.
        """
        end = [self.tokenizer.eos_token_id]
        return [self.tokenizer(text, add_special_tokens=False).input_ids + end for text in completion]

    def decode_state(
        self, completion_ids: Any, context: Any = None, *, parse: Callable[[str], Any] | None = None
    ) -> list[Any]:
        """
        The answers of completions.

        Args:
            completion_ids (`torch.Tensor` of shape `(B, L)`, or `list[list[int]]`): completions.
            context (`Any`, *optional*): not read; other modalities need it.
            parse (`Callable[[str], Any]`, *optional*): reads an answer, as a function of the world's state class
                does, and raises `ValueError` where it cannot.

        Returns:
            `list`: one answer per completion, without special tokens and without the reasoning before it: its text, or
            with `parse` the result, which is `None` for an answer that cannot be read.
        """
        ids = completion_ids.tolist() if isinstance(completion_ids, torch.Tensor) else completion_ids
        answers = [self.find_answer(text) for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]
        return answers if parse is None else [_read(answer, parse) for answer in answers]

    def find_answer(self, completion: str) -> str:
        """
        The text after the last marker.

        Args:
            completion (`str`): what the model wrote, without special tokens.

        Returns:
            `str`: stripped; the whole completion if there is no marker.
        """
        if not self.answer_markers:
            return completion.strip()
        markers = "|".join(re.escape(marker) for marker in self.answer_markers)
        return re.split(markers, completion, flags=re.IGNORECASE)[-1].strip()


def _read(answer: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(answer)
    except ValueError:  # `UnreadableAnswerError` is one; it cannot be imported on the Hub
        return None
