"""
Worlds of text: transitions whose prompts and answers a language model reads and writes.

The module of such a world has `PROMPT_TEMPLATE`, with `{state}` and `{action}`, if its prompts follow one, and
`nothing_changes(state, **keys)`, which takes keys of its collect stage and returns the answer that nothing changes. It
may have `lexicon(**keys)`: texts with the words that the world can have, whether or not training texts have them;
`write_reason(state, action)`: why the action changes the state or does not, in lines before the answer;
`state_parts(state)`: what states are compared by, by default their lines; and `transfer_change(transition, state,
**keys)`: the answer that a state changes as it did in a recorded row, by default that row's own answer. A source of
recorded transitions may say by `has_conversations` that prompts are conversations, and not texts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import torch
from peft import PeftModel, get_peft_model
from tqdm.auto import tqdm
from transformers import AutoTokenizer

from ...data.folder import UnusableEpisodesError
from ...data.rows import count_share
from ...data.transition import save_transitions
from ...evaluation.answers import evaluate_answers, measure_answers, measure_language_checkpoint, predict_answers
from ...evaluation.distinct import distinct_metrics
from ...evaluation.few_shot import NO_CONVERSATIONS, answer_few_shot, write_examples
from ...evaluation.nearest import nearest_transitions
from ...evaluation.predictions import Sampling
from ...evaluation.results import Results
from ...evaluation.sharing import ALONE, Share
from ...hub.checkpoint import choose_attention
from ...hub.training_checkpoints import load_weights
from ...hub.transformer import load_transformer
from ...hub.vocabulary import count_fallback, trim_model, trim_tokenizer
from ...processors.text import LanguageWorldModelProcessor
from ...states.answer import with_reason
from ...states.differences import mark_differences
from ..codec import BUNDLED, SCRATCH
from ..language_models import check_start, check_tokenizer, find_language_model, language_model_identity
from ..named_parts import build_rewards, named_setting
from ..precision import weights_dtype
from ..progress import cached, fingerprint, write_json
from ..stage import StageRun, checkpoint_folder, stage_folder
from ..world import world_module, world_source
from .kind import SPLITS, LikelihoodParts, WorldKind


ADAPTER = "adapter"
"""Folder of a run's output that holds base's adapter, which base itself has merged."""

TEXT_TOKENIZER = "text_tokenizer"
"""Folder of a run's output that holds a text tokenizer trained in it."""

VOCABULARY = "vocabulary.json"
"""File that says how far a vocabulary was cut, and how texts fare that it was not cut for."""

TRIMMING = 1
"""Raised when another vocabulary is cut from the same texts."""

FEW_SHOT = "few_shot"
"""Row of the language model as it was installed, which has seen some examples in the prompt and nothing else."""

NEAREST = "nearest"
"""Row of the change that the nearest state of the training split went through under the same action."""

EXAMPLES_FROM = 200
"""Test transitions from which examples are chosen."""

logger = logging.getLogger(__name__)


class TextKind(WorldKind):
    """
    Worlds of transitions, see [`WorldKind`].

    Example:

    ```python
    >>> from rlvr_world_hf.runs.recipe import load_recipe
    >>> TextKind(load_recipe("textworld/quickstart")).nothing_changes(["at(P, kitchen: r)"])
    ['nothing changes']

    ```
    """

    fixed_length = False

    def states(self) -> tuple[str, ...]:
        """Text."""
        return ("text",)

    def measured(self, rewards: Sequence[Any], metrics: Sequence[Any]) -> list[Any]:
        """The rewards and the recipe's own metrics."""
        return distinct_metrics([*rewards, *metrics])

    def try_tokenizer(self, settings: Any) -> None:
        """A tokenizer of no text; or look for the one that the recipe names."""
        if settings.source == SCRATCH:
            with named_setting("tokenizer", "its training refuses the settings", "Change the key that is meant."):
                self.tokenizer_keys()([], **settings.arguments)
        else:
            check_tokenizer(settings.source, where="tokenizer.source")
        if settings.start_from is not None:
            raise ValueError(
                "tokenizer.start_from: expected none in a world of text, whose tokenizers have no weights, got "
                f"{settings.start_from!r}; leave it out."
            )

    def try_start(self, settings: Any) -> None:
        """A fresh policy over the words of no text: its sizes do not depend on their number."""
        from ...training.language import build_language_policy, train_text_tokenizer

        if settings.start_from:
            check_start(settings.start_from, where="pretrain.start_from")
            return
        tokenizer = train_text_tokenizer([])
        refusal = "a policy of these sizes cannot be built"
        with named_setting("pretrain", refusal, "Change the size that is meant."), torch.device("meta"):
            build_language_policy(tokenizer, **settings.policy_sizes(), seed=self.recipe.seed)

    def try_few_shot(self, count: int) -> None:
        """See [`WorldKind.try_few_shot`]."""
        if not self.settings("pretrain").start_from:
            super().try_few_shot(count)
        if getattr(self.recorded(), "has_conversations", False):
            raise ValueError(NO_CONVERSATIONS)
        if self.folder("train").is_dir():
            write_examples(self.stored("train"), count=count)

    def try_reasons(self) -> None:
        """See [`WorldKind.try_reasons`]."""
        if not hasattr(world_module(self.recipe), "write_reason") or getattr(
            self.recorded(), "has_conversations", False
        ):
            super().try_reasons()

    def try_nearest(self) -> None:
        """States and actions of text can be compared."""

    def training_settings(self) -> Mapping[str, Any]:
        """See [`~rlvr_world_hf.training.language.finetune`]."""
        from ...training.language import OF_TEXT

        return OF_TEXT

    def needs(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def contents(self) -> Any:
        """See [`WorldKind.contents`]."""
        recorded = self.recorded()
        return None if recorded is None else recorded.contents()

    def load(self, folder: Path) -> datasets.Dataset:
        """Rows of transitions."""
        return datasets.load_from_disk(str(folder))

    def cut(self, stored: datasets.Dataset, split: str) -> datasets.Dataset:
        """The stored rows: a transition is a row already; with reasons before the answers if some are learned."""
        settings = self.settings("pretrain")
        if not (settings.reasons or settings.reasons_everywhere):
            return stored
        pairs = zip(self.reasons(stored), stored["completion"], strict=True)
        completions = [with_reason(reason, answer) for reason, answer in pairs]
        return stored.remove_columns("completion").add_column("completion", completions)

    def reasons(self, rows: datasets.Dataset) -> list[str]:
        """The reason of each row, as the world's program writes it."""
        write = world_module(self.recipe).write_reason
        return [write(state, action) for state, action in zip(rows["data_state"], rows["data_action"], strict=True)]

    def learned(self, split: str, settings: Any) -> datasets.Dataset:
        """The rows of a split that likelihood training with these settings of pretrain learns, or is validated on."""
        if not (settings.reasons or settings.reasons_everywhere):
            return self.stored(split)  # also in a recipe whose pretrain learns reasons, and control answers alone
        is_part = split == "train" and not settings.reasons_everywhere
        return self.rows(split, count=settings.reasons if is_part else 0)

    def write_recorded(self, recorded: Any, folder: Path) -> None:
        """Take as many transitions as the recipe asks for, or such a share, from each of the source's own splits."""
        splits = recorded.read()
        # All are counted before any is written.
        counts = {split: self._count(split, len(transitions)) for split, transitions in splits.items()}
        for split, transitions in splits.items():
            save_transitions(_spread(transitions, counts[split]), folder / split)

    def record(self, seeds: Mapping[str, Sequence[int]], folder: Path) -> None:
        """Record the games of each split; the number of transitions is not known before."""
        settings, record = self.settings("collect"), world_source(self.recipe)
        for split, split_seeds in seeds.items():
            transitions = record(split_seeds, processes=settings.processes, **settings.arguments)
            save_transitions(tqdm(transitions, desc=f"collect {split}", unit="transition"), folder / split)

    def tokenizer_keys(self) -> Callable[..., Any]:
        """`train_text_tokenizer`."""
        from ...training.language import train_text_tokenizer

        return train_text_tokenizer

    def tokenizer_source(self) -> str:
        """The tokenizer that the recipe names."""
        source = self.settings("tokenizer").source
        return source if source in (SCRATCH, BUNDLED) else language_model_identity(source)

    def train_tokenizer(self, run: StageRun) -> list[Path]:
        """Train a text tokenizer on the prompts and answers of the training split, with `--tokenizer scratch`."""
        if run.settings.source != SCRATCH or not run.processes.is_first:
            return []
        rows = self.stored("train")
        prompts = (_flat(prompt) for prompt in rows["prompt"])
        trained = self.tokenizer_keys()(chain(prompts, rows["completion"]), **run.settings.arguments)
        folder = run.folder / TEXT_TOKENIZER
        trained.save_pretrained(str(folder))
        return [folder]

    def likelihood_arguments(self) -> Callable[..., Any]:
        """`FinetuningConfig`, hence TRL's `SFTConfig`."""
        from ...training.language import FinetuningConfig

        return FinetuningConfig

    def start_identity(self) -> str | None:
        """The weights that training starts from, if it starts from any."""
        start = self.settings("pretrain").start_from
        return language_model_identity(start) if start else None

    def start(self, run: StageRun) -> tuple[LanguageWorldModelProcessor, Any]:
        """A fresh policy, or the language model that the recipe starts from, with all of its vocabulary or less."""
        if few_shot := self.settings("evaluate").few_shot:  # refused before training, and not after all of it
            self.try_few_shot(few_shot)
        processor, model = self.build_start(run.processes.device)
        if self.settings("pretrain").trim_vocabulary and run.processes.is_first:
            counts = json.loads((self.trimmed() / VOCABULARY).read_text(encoding="utf-8"))
            write_json(run.folder / VOCABULARY, counts)
            logger.info("pretrain: %s", told_vocabulary(counts))
        return processor, choose_attention(model, run.processes.device)

    def restart(self, model: Any, processor: Any) -> Any:
        """A policy without adapter, if there is one: the saved base has it merged, the checkpoint to resume apart."""
        if self.settings("pretrain").adapter() is None:
            return model
        return choose_attention(self.build_start(model.device)[1], model.device)

    def adapted_base(self, device: Any) -> Any:
        """The policy that likelihood training kept, with its adapter apart, to be trained on."""
        device, adapter = torch.device(device), self.settings("pretrain").adapter()
        model = get_peft_model(choose_attention(self.build_start(device)[1], device), adapter)
        load_weights(model, stage_folder(self.recipe, "pretrain") / ADAPTER)
        return model.to(device)

    def keep_beside(self, run: StageRun, model: Any) -> list[Path]:
        """The adapter of base, and the counts of a vocabulary that was cut."""
        adapter, vocabulary = run.folder / ADAPTER, run.folder / VOCABULARY
        if not isinstance(model, PeftModel):
            return [file for file in (vocabulary,) if file.is_file()]
        if run.processes.is_first:
            model.save_pretrained(str(adapter))
            (adapter / "README.md").unlink(missing_ok=True)  # peft's
        return [adapter, *(file for file in (vocabulary,) if file.is_file())]

    def likelihood_parts(self, run: StageRun, model: Any, processor: Any, settings: Any) -> LikelihoodParts:
        """TRL's `SFTTrainer`, on prompts and answers."""
        from ...training.language import finetune, tokenize_transitions

        tokens = {
            split: tokenize_transitions(self.learned(split, settings), processor, max_length=settings.max_length)
            for split in ("train", "validation")
        }
        adapter = settings.adapter()

        def train(model: Any, *splits: Any, **arguments: Any) -> Any:
            return finetune(model, processor, *splits, **arguments)

        with torch.random.fork_rng():
            torch.manual_seed(self.recipe.seed)  # decides where the adapter begins
            adapted = model if adapter is None else get_peft_model(model, adapter)
        return LikelihoodParts(train=train, model=adapted, tokens=tokens, settings={})

    def build_processor(self) -> LanguageWorldModelProcessor:
        """The processor of the recipe, with the tokenizer trained in the run, or that of the recipe."""
        source = self.settings("tokenizer").source
        place = checkpoint_folder(self.recipe, TEXT_TOKENIZER) if source == SCRATCH else source
        template = getattr(world_module(self.recipe), "PROMPT_TEMPLATE", None)
        tokenizer = AutoTokenizer.from_pretrained(find_language_model(str(place)))
        return LanguageWorldModelProcessor(tokenizer, prompt_template=template)

    def build_policy(self, processor: LanguageWorldModelProcessor, device: Any = "cpu") -> Any:
        """The model that likelihood training starts from: one that is trained already, or one with fresh weights."""
        from ...training.language import build_language_policy

        settings = self.settings("pretrain")
        if settings.start_from:
            # Unpickling weights of a repository could run its code; as safetensors alone, they do not.
            return load_transformer(find_language_model(settings.start_from), dtype=self._dtype(device))
        return build_language_policy(processor.tokenizer, **settings.policy_sizes(), seed=self.recipe.seed)

    def build_start(self, device: Any = "cpu") -> tuple[LanguageWorldModelProcessor, Any]:
        """Processor and model that likelihood training starts from, their vocabulary cut if that is asked for."""
        processor = self.build_processor()
        if not self.settings("pretrain").trim_vocabulary:
            return processor, self.build_policy(processor, device)
        folder = self.trimmed()
        cut = LanguageWorldModelProcessor(
            AutoTokenizer.from_pretrained(folder), prompt_template=processor.prompt_template
        )
        return cut, load_transformer(folder, dtype=self._dtype(device))

    def trimmed(self) -> Path:
        """Folder of the model to start from with the vocabulary that the training texts and the world need."""
        settings = self.settings("pretrain")
        made_from = {
            "tokenizer": self.tokenizer_source(),
            "model": self.start_identity(),
            "texts": self._texts_identity,
            "lexicon": fingerprint({"texts": self.lexicon()}),
            "revision": TRIMMING,
        }

        def build(folder: Path) -> None:
            processor = self.build_processor()
            whole = processor.tokenizer
            cut, kept = trim_tokenizer(whole, chain(self.texts("train", processor), self.lexicon()))
            model = load_transformer(find_language_model(settings.start_from), dtype="auto")
            size = model.get_input_embeddings().weight.shape[0]
            trim_model(model, kept, cut)
            model.save_pretrained(folder)
            cut.save_pretrained(str(folder))
            fallback = {
                split: dataclasses.asdict(count_fallback(whole, cut, kept, self.texts(split, processor)))
                for split in SPLITS
            }
            write_json(folder / VOCABULARY, {"tokens": len(kept), "tokens_before": size, "texts": fallback})

        return cached("language_models", fingerprint(made_from), build)

    @cached_property
    def _texts_identity(self) -> str:
        """Changes with the prompts and answers of any split: what was collected, and how a version writes it."""
        digest = hashlib.sha256()
        for split in SPLITS:
            for row in self.rows(split).select_columns(["prompt", "completion"]):
                digest.update(json.dumps([split, row["prompt"], row["completion"]]).encode())
        return digest.hexdigest()[:16]

    def texts(self, split: str, processor: LanguageWorldModelProcessor) -> Iterator[str]:
        """Prompts, as the model sees them, and answers of a split."""
        rows = self.rows(split)
        return chain(map(processor.render, rows["prompt"]), rows["completion"])

    def lexicon(self) -> list[str]:
        """Texts with the words that the world can have, where its module tells them."""
        lexicon = getattr(world_module(self.recipe), "lexicon", None)
        return [] if lexicon is None else list(lexicon(**self._known_keys(lexicon)))

    def _known_keys(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Keys of the stage collect that a function of the world takes; most, such as sizes of games, it does not."""
        known = inspect.signature(function).parameters
        return {name: value for name, value in self.settings("collect").arguments.items() if name in known}

    def _dtype(self, device: Any) -> torch.dtype:
        settings = self.settings("pretrain")
        return weights_dtype(settings.bf16, device, frozen=settings.adapter() is not None)

    def nothing_changes(self, states: Iterable[str]) -> list[str]:
        """The world's answer that nothing changes, for each of some states, in the form that the recipe asks for."""
        answer = world_module(self.recipe).nothing_changes
        asked = self._known_keys(answer)
        return [answer(state, **asked) for state in states]

    def nearest(self, rows: datasets.Dataset) -> list[str]:
        """For each row the answer that it changes as the nearest training state did; else that nothing changes."""
        transitions, module = self.stored("train"), world_module(self.recipe)
        found = nearest_transitions(rows, transitions, parts=getattr(module, "state_parts", str.splitlines))
        transfer = getattr(module, "transfer_change", lambda transition, state: transition["completion"])
        asked, states = self._known_keys(transfer), list(rows["data_state"])
        unknown = self.nothing_changes(states)
        return [
            unknown[place] if index is None else transfer(transitions[index], states[place], **asked)
            for place, index in enumerate(found)
        ]

    def evaluate(
        self,
        settings: Any,
        checkpoints: Mapping[str, tuple[Any, Any]],
        rewards: list[Any],
        metrics: list[Any],
        *,
        share: Share = ALONE,
    ) -> Results:
        """See [`~rlvr_world_hf.evaluation.answers.evaluate_answers`]."""
        rows = self.rows("test", count=settings.windows)
        limits = {"max_new_tokens": settings.max_new_tokens, "batch_size": settings.batch_size, "share": share}
        return evaluate_answers(
            checkpoints,
            rows,
            metrics=self.measured(rewards, metrics),
            nothing_changes=self.nothing_changes(rows["data_state"]),
            recipe=self.recipe.name,
            rewarded=list(dict.fromkeys(reward.name for reward in rewards)),
            training_seed=self.recipe.seed,
            # Without `reject_repetition`, which is for frames only: the record must not claim it.
            draws=dataclasses.replace(settings.draws(), sampling=Sampling(temperature=settings.temperature)),
            best_sampling=settings.best(self),
            given={
                **self._given(settings, rows, next(iter(checkpoints.values()))[0].device, **limits),
                **self._with_other_reasons(
                    {name: checkpoints[name] for name in settings.replaced_reasons if name in checkpoints},
                    rows,
                    **limits,
                ),
            },
            **limits,
        )

    def _given(self, settings: Any, rows: datasets.Dataset, device: Any, **limits: Any) -> dict[str, list[str]]:
        """
        Answers of the rows that are asked for: `nearest`, and `few_shot`, of the language model as it was installed,
        on a device, with examples in the prompt.
        """
        given = {NEAREST: self.nearest(rows)} if settings.nearest else {}
        if not settings.few_shot:
            return given
        processor = self.build_processor()
        start = find_language_model(self.settings("pretrain").start_from)
        model = choose_attention(load_transformer(start, dtype=torch.float32).to(device)).eval()
        answers = answer_few_shot(model, processor, rows, self.stored("train"), count=settings.few_shot, **limits)
        return given | {FEW_SHOT: answers}

    def _with_other_reasons(
        self, checkpoints: Mapping[str, tuple[Any, Any]], rows: datasets.Dataset, **limits: Any
    ) -> dict[str, list[str]]:
        """
        The likeliest answers of checkpoints after reasons that they have not written: the true ones, each that of
        the next row that has another, and none.
        """
        true = self.reasons(rows) if checkpoints else []
        found: dict[str, list[str]] = {}
        for name, (model, processor) in checkpoints.items():
            for how, reasons in {"given": true, "swapped": _swapped(true), "removed": [""] * len(true)}.items():
                begun = [with_reason(reason, "") for reason in reasons]
                prompts = {"prompt": [prompt + begin for prompt, begin in zip(rows["prompt"], begun, strict=True)]}
                row = f"{name}_reasons_{how}"
                answers = predict_answers(model, processor, prompts, label=row, **limits)
                found[row] = [begin + of_row[0] for begin, of_row in zip(begun, answers, strict=True)]
        return found

    def measure(
        self, model: Any, processor: Any, rewards: list[Any], metrics: list[Any], *, count: int
    ) -> dict[str, float]:
        """See [`~rlvr_world_hf.evaluation.answers.measure_language_checkpoint`]."""
        settings = self.settings("evaluate")
        return measure_language_checkpoint(
            model,
            processor,
            self.rows("validation", count=count),
            metrics=self.measured(rewards, metrics),
            max_new_tokens=settings.max_new_tokens,
            batch_size=settings.batch_size,
        )

    def show(self, model: Any, processor: Any, folder: Path, *, count: int) -> dict[str, Path]:
        """Answers with their differences from the recorded ones marked, as `answers.md`."""
        rows = self.rows("validation", count=count)
        answers = predict_answers(model, processor, rows, max_new_tokens=self.settings("evaluate").max_new_tokens)
        file = folder / "answers.md"
        sections = [
            f"### {place}\n\n```\n{_flat(row['prompt'])}\n```\n\n"
            + mark_differences(*map(processor.find_answer, (of_row[0], row["completion"]))).replace("\n", "  \n")
            for place, (row, of_row) in enumerate(zip(rows, answers, strict=True))
        ]
        file.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
        return {"predictions/answers": file}

    def draw(self, run: StageRun, pipelines: Mapping[str, Any]) -> list[Path]:
        """Right and wrong answers of the last checkpoint, with those of the others, as `examples.md`."""
        if not run.settings.examples:
            return []
        file = run.folder / "examples.md"
        file.write_text(self.examples(run.settings, pipelines), encoding="utf-8")
        return [file]

    def examples(self, settings: Any, pipelines: Mapping[str, Any]) -> str:
        """Right and wrong answers of the last checkpoint to test prompts, with those of the others, as Markdown."""
        rows = self.rows("test", count=EXAMPLES_FROM)
        predict = partial(
            predict_answers,
            rows=rows,
            sampling=Sampling(temperature=settings.temperature),
            sampling_seeds=[settings.sampling_seed],
        )
        answers = {name: predict(pipeline.model, pipeline.processor) for name, pipeline in pipelines.items()}
        reward = build_rewards(self.settings("grpo").rewards)[0][0]
        last = measure_answers(answers[settings.checkpoints[-1]], rows, [reward])[reward.name][:, 0].tolist()
        is_right = [value == reward.best for value in last]
        sections = []
        for title, wanted in (("Right", True), ("Wrong", False)):
            found = [index for index, right in enumerate(is_right) if right == wanted]
            places = range(settings.examples if found else 0)
            # Where fewer are found than asked for, places repeat.
            chosen = dict.fromkeys(found[place * len(found) // settings.examples] for place in places)
            sections += [f"### {title}", *(_example(rows[index], index, answers) for index in chosen)]
        return "\n\n".join(sections) + "\n"

    def _count(self, split: str, there: int) -> int:
        """How many of a split's recorded transitions to take; 0 for all."""
        asked = getattr(self.settings("collect"), split)
        try:
            count = count_share(asked, there)
        # While a job runs, the command reports this error alone without a traceback.
        except ValueError as error:
            raise UnusableEpisodesError(f"collect.{split}: {error}; give one of them.") from error
        if count > there:
            raise UnusableEpisodesError(
                f"collect.{split}: expected at most the {there} recorded transitions of this split, got {asked}; "
                "lower it, or give 0 for all of them."
            )
        return count


def told_vocabulary(counts: Mapping[str, Any]) -> str:
    """
    How far a vocabulary was cut, in a sentence.

    Args:
        counts (`Mapping[str, Any]`):
            The content of [`VOCABULARY`].

    Returns:
        `str`: the sentence, with the texts of each split that are written in smaller pieces since.

    Example:

    ```python
    >>> whole = {"texts": 9, "texts_in_pieces": 0, "tokens": 90, "tokens_cut": 90}
    >>> told_vocabulary({"tokens": 2, "tokens_before": 8, "texts": {"test": whole | {"texts_in_pieces": 3}}})
    'vocabulary cut from 8 to 2 tokens; texts in smaller pieces: 3 of 9 in test'

    ```
    """
    pieces = [f"{of['texts_in_pieces']} of {of['texts']} in {split}" for split, of in counts["texts"].items()]
    return (
        f"vocabulary cut from {counts['tokens_before']} to {counts['tokens']} tokens; texts in smaller pieces: "
        f"{', '.join(pieces)}"
    )


def _swapped(reasons: list[str]) -> list[str]:
    """For each reason the next one that is another; the same where all are alike."""
    count = len(reasons)
    following = ([reasons[(place + step) % count] for step in range(1, count)] for place in range(count))
    return [
        next((other for other in others if other != own), own) for own, others in zip(reasons, following, strict=True)
    ]


def _spread(items: list[Any], count: int) -> list[Any]:
    """`count` of some items, spread evenly; all of them for 0."""
    return [items[index * len(items) // count] for index in range(count)] if 0 < count < len(items) else items


def _flat(prompt: str | list[dict[str, str]]) -> str:
    """A prompt as one text; the turns of a conversation are joined."""
    return prompt if isinstance(prompt, str) else "\n".join(turn["content"] for turn in prompt)


def _example(row: dict[str, Any], index: int, answers: Mapping[str, list[list[str]]]) -> str:
    lines = [f"state:    {row['data_state']}", f"action:   {row['data_action']}", f"recorded: {row['completion']}"]
    lines += [f"{name + ':':<9} {rows_by_name[index][0]}" for name, rows_by_name in answers.items()]
    return "```text\n" + "\n".join(lines) + "\n```"
