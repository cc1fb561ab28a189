"""The page of the metric: a predicted and a recorded change, the numbers."""

from pathlib import Path

import evaluate
import gradio as gr

from rlvr_world_hf.playground.answering import AnsweringPage


METRIC = evaluate.load(str(Path(__file__).with_name("web_page_f1.py")))


def measure(answer: str, recorded: str) -> dict[str, float]:
    """F1 of an answer."""
    try:
        return METRIC.compute(predictions=[answer], references=[recorded])
    except ValueError as error:
        raise gr.Error(str(error), print_exception=False) from error


class Page(AnsweringPage, gr.Interface):
    """A page that answers in words, and only through its queue."""


def build_page() -> gr.Interface:
    """The page."""
    recorded = "New items:\nNone\n\nDeleted items:\n[3] button 'Save'\n\nUpdated items:\n[2] link 'Cart'"
    page = Page(
        measure,
        inputs=[
            gr.Textbox(label="Answer of the model", lines=8, max_length=100_000),
            gr.Textbox(label="Recorded change", lines=8, max_length=100_000),
        ],
        outputs=gr.JSON(label="F1"),
        examples=[["Deleted items:\n[3] button 'Save'", recorded]],
        title="Web page F1",
        description=METRIC.description,
        api_name="measure",
        flagging_mode="never",
    )
    return page.queue()


if __name__ == "__main__":
    build_page().launch()
