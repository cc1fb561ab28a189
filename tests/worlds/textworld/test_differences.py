from typing import Any

import pytest

from rlvr_world_hf.worlds.textworld.differences import answers_html, malformed_html, message_html, state_html
from rlvr_world_hf.worlds.textworld.facts import FactChange, FactState
from rlvr_world_hf.worlds.textworld.playground import Answer, MalformedStateError, read_state


TITLES = {"base": ("Base", "by likelihood"), "rlvr": ("<RLVR>", "by reward")}
TRUTH = FactChange.parse("- closed(box)\n+ open(box)")


def answer(text: str, *, model: str = "rlvr", problem: str = "", known: bool = True) -> Answer:
    return Answer(
        model=model,
        text=text,
        change=None if problem else FactChange.parse(text),
        problem=problem,
        rewards={"exact_match": 0.0, "fact_f1": 0.5} if known else None,
    )


def shown(*answers: Answer, truth: FactChange | None = TRUTH, **settings: Any) -> str:
    return answers_html(answers, names=("base", "rlvr"), titles=TITLES, truth=truth, **settings)


def test_state_is_a_table_of_facts() -> None:
    html = state_html(FactState.parse("west_of(hall, kitchen, red door)\nclosed(box)\nat(player, hall)"))
    rows = html.split("<tbody>")[1].split("</tr>")[:-1]
    assert rows == [
        "<tr><td>box</td><td>closed</td><td></td>",
        "<tr><td>hall</td><td>west of</td><td>kitchen, red door</td>",
        "<tr><td>player</td><td>at</td><td>hall</td>",
    ]


def test_lines_are_right_wrong_or_missed() -> None:
    html = shown(answer("- closed(box)\n+ held(box)"), asked="open box & look")
    assert '<li class="rw-right"><i aria-hidden="true">✓</i><code>− closed(box)</code><small>right</small>' in html
    assert '<li class="rw-wrong"><i aria-hidden="true">✗</i><code>+ held(box)</code><small>not so</small>' in html
    assert '<li class="rw-missed"><i aria-hidden="true">○</i><code>+ open(box)</code><small>missed</small>' in html
    assert html.count('class="rw-said"') == 2  # what is true has no verdict
    assert "exact match <b>0.00</b> · F1 <b>0.50</b>" in html
    assert "&gt; open box &amp; look" in html and "&lt;RLVR&gt;" in html


def test_models_that_have_not_answered_yet_have_their_card() -> None:
    html = shown(answer("nothing changes", model="base"))
    assert html.count("<section>") == 3 and html.count("…") == 1
    assert '<li class="rw-wrong"><i aria-hidden="true">✗</i><code>nothing changes</code>' in html


def test_samples_are_counted() -> None:
    html = shown(answer("+ open(box)"), answer("- closed(box)"))
    assert "<h5>sample 1</h5>" in html and "<h5>sample 2</h5>" in html


def test_unreadable_words_are_shown_as_they_are_and_do_nothing() -> None:
    html = shown(answer("<script>alert(1)</script>", problem="Expected lines, got '<b>'."))
    assert "<pre>&lt;script&gt;alert(1)&lt;/script&gt;</pre>" in html and "<script>" not in html
    assert "Unreadable. Expected lines, got &#x27;&lt;b&gt;&#x27;." in html


def test_where_no_game_knows_nothing_is_judged() -> None:
    html = shown(answer("+ open(box)", known=False), truth=None)
    assert "Not known here" in html and "Reward" not in html and "rw-right" not in html


def test_messages_are_alerts_and_escaped() -> None:
    with pytest.raises(MalformedStateError) as caught:
        read_state('["<b>"]')
    html = malformed_html(caught.value)
    assert 'role="alert"' in html and "Line 1, column 2:" in html
    assert "<pre>[&quot;&lt;b&gt;&quot;]\n ^</pre>" in html
    assert message_html("<b>") == '<div class="rw-error" role="alert">&lt;b&gt;</div>'
