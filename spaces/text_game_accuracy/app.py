"""The page of the metric: one answer, its states, the numbers."""

from pathlib import Path

import evaluate
import gradio as gr

from rlvr_world_hf.playground.answering import AnsweringPage


METRIC = evaluate.load(str(Path(__file__).with_name("text_game_accuracy.py")))


def measure(answer: str, state: str, recorded: str) -> dict[str, float]:
    """Accuracy of an answer, and the graded reward."""
    try:
        return METRIC.compute(predictions=[answer], references=[recorded], states=[state])
    except ValueError as error:
        raise gr.Error(str(error), print_exception=False) from error


class Page(AnsweringPage, gr.Interface):
    """A page that answers in words, and only through its queue."""


def build_page() -> gr.Interface:
    """The page."""
    state = '{"game_state": [{"uuid": 2, "properties": {"isOn": false}, "contains": []}, {"score": 0}]}'
    page = Page(
        measure,
        inputs=[
            gr.Textbox(label="Answer of the model", max_length=100_000),
            gr.Textbox(label="State before the step, as JSON", max_length=100_000),
            gr.Textbox(label="State after the step, as JSON", max_length=100_000),
        ],
        outputs=gr.JSON(label="Accuracy"),
        examples=[["2|+isOn", state, state.replace("false", "true")]],
        title="Text game accuracy",
        description=METRIC.description,
        api_name="measure",
        flagging_mode="never",
    )
    return page.queue()


if __name__ == "__main__":
    build_page().launch()
