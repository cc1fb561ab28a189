"""
A text game as fragments of a page: its state as a table, and predicted beside true differences.

The fragments are HTML; their classes begin with `rw-`, and a page gives them their look.
"""

from collections.abc import Mapping, Sequence
from html import escape

from ...playground.film import Titles
from .facts import NO_CHANGE, FactChange, FactState
from .playground import Answer, MalformedStateError


REWARD_TITLES = {"exact_match": "exact match", "fact_f1": "F1"}
VERDICTS = {
    "right": ("✓", "right"),
    "wrong": ("✗", "not so"),
    "missed": ("○", "missed"),
    "said": ("", ""),
}


def state_html(state: FactState) -> str:
    """
    A state as a table: one fact a row.

    Args:
        state (`FactState`):
            The state.

    Returns:
        `str`: HTML.

    Example:

    ```python
    >>> "<td>apple</td><td>in</td><td>old fridge</td>" in state_html(FactState.parse("in(apple, old fridge)"))
    True

    ```
    """
    rows = "".join(
        f"<tr><td>{escape(names[0])}</td><td>{escape(relation)}</td><td>{escape(', '.join(names[1:]))}</td></tr>"
        for relation, names in sorted(map(_words, state.facts), key=lambda words: (words[1], words[0]))
    )
    return (
        '<table class="rw-state"><thead><tr><th scope="col">Thing</th><th scope="col">is</th>'
        f'<th scope="col">what, or where</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def answers_html(
    answers: Sequence[Answer], *, names: Sequence[str], titles: Titles, truth: FactChange | None, asked: str = ""
) -> str:
    """
    What truly changes, and what each model says, line by line: right, wrong or missed.

    Args:
        answers (`Sequence[Answer]`):
            What the models have said so far.
        names (`Sequence[str]`):
            The models, in the order of their cards.
        titles (`Mapping[str, tuple[str, str]]`):
            Title and subtitle of each model.
        truth (`FactChange` or `None`):
            What truly changes, if it is known.
        asked (`str`, *optional*):
            The action.

    Returns:
        `str`: HTML.
    """
    cards = [_truth_card(truth)]
    for name in names:
        own = [answer for answer in answers if answer.model == name]
        said = "".join(
            _answer(answer, truth, f"sample {at}" if len(own) > 1 else "") for at, answer in enumerate(own, start=1)
        )
        cards.append(_card(*titles[name], said or '<p class="rw-small">…</p>'))
    heading = f'<p class="rw-asked">&gt; {escape(asked)}</p>' if asked else ""
    return f'{heading}<div class="rw-cards">{"".join(cards)}</div>'


def malformed_html(error: MalformedStateError) -> str:
    """
    The message on a state that cannot be read: line, column and excerpt.

    Args:
        error (`MalformedStateError`):
            What is wrong, and where.

    Returns:
        `str`: HTML.
    """
    return (
        f'<div class="rw-error" role="alert"><b>Line {error.line}, column {error.column}:</b> '
        f"{escape(error.problem)}<pre>{escape(error.excerpt)}</pre></div>"
    )


def message_html(text: str) -> str:
    """
    A message on what cannot be done.

    Args:
        text (`str`):
            The message.

    Returns:
        `str`: HTML.
    """
    return f'<div class="rw-error" role="alert">{escape(text)}</div>'


def _words(fact: str) -> tuple[str, list[str]]:
    relation, _, rest = fact.rstrip(")").partition("(")
    return relation.replace("_", " "), rest.split(", ")


def _card(title: str, subtitle: str, content: str) -> str:
    return f"<section><h4>{escape(title)} <small>{escape(subtitle)}</small></h4>{content}</section>"


def _truth_card(truth: FactChange | None) -> str:
    if truth is None:
        return _card("What truly changes", "", '<p class="rw-small">Not known here: predictions stand alone.</p>')
    lines = [_line(line, "said") for line in str(truth).splitlines()]
    return _card("What truly changes", "the game's own logic", f'<ul class="rw-lines">{"".join(lines)}</ul>')


def _answer(answer: Answer, truth: FactChange | None, label: str) -> str:
    if answer.change is None:
        said = f'<p class="rw-wrong">Unreadable. {escape(answer.problem)}</p><pre>{escape(answer.text)}</pre>'
    else:
        said = f'<ul class="rw-lines">{"".join(_lines(answer.change, truth))}</ul>'
    heading = f"<h5>{escape(label)}</h5>" if label else ""
    return f"{heading}{said}{_rewards(answer.rewards)}"


def _lines(change: FactChange, truth: FactChange | None) -> list[str]:
    if truth is None:
        return [_line(line, "said") for line in str(change).splitlines()]
    said, true = (set(str(one).splitlines()) for one in (change, truth))
    lines = [_line(line, "right" if line in true else "wrong") for line in str(change).splitlines()]
    return lines + [_line(line, "missed") for line in str(truth).splitlines() if line not in said]


def _line(line: str, verdict: str) -> str:
    mark, word = VERDICTS[verdict]
    spoken = line if line == NO_CHANGE else line.replace("- ", "− ", 1)
    note = f"<small>{word}</small>" if word else ""
    return f'<li class="rw-{verdict}"><i aria-hidden="true">{mark}</i><code>{escape(spoken)}</code>{note}</li>'


def _rewards(rewards: Mapping[str, float] | None) -> str:
    if rewards is None:
        return ""
    parts = (f"{escape(REWARD_TITLES.get(name, name))} <b>{value:.2f}</b>" for name, value in rewards.items())
    return f'<p class="rw-rewards">Reward: {" · ".join(parts)}</p>'
