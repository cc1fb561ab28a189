"""The page of the metric: a predicted and a recorded frame, the numbers."""

from pathlib import Path

import evaluate
import gradio as gr
import numpy as np
import torch

from rlvr_world_hf.playground.answering import AnsweringPage


METRIC = evaluate.load(str(Path(__file__).with_name("video_prediction.py")))
MAX_PIXELS = 1024 * 1024


def measure(predicted: np.ndarray | None, recorded: np.ndarray | None) -> dict[str, float]:
    """Errors and similarities of a frame."""
    if predicted is None or recorded is None:
        raise gr.Error("Give a predicted and a recorded frame.", print_exception=False)
    if predicted.shape != recorded.shape:
        raise gr.Error(
            f"The frames differ in size: {predicted.shape[:2]} and {recorded.shape[:2]}.", print_exception=False
        )
    if predicted.shape[0] * predicted.shape[1] > MAX_PIXELS:
        raise gr.Error(
            f"Expected frames of at most {MAX_PIXELS} pixels, got {predicted.shape[:2]}; make them smaller.",
            print_exception=False,
        )
    frames = [torch.from_numpy(frame).permute(2, 0, 1)[None, None] for frame in (predicted, recorded)]
    try:
        return METRIC.compute(predictions=frames[0], references=frames[1])
    except ValueError as error:
        raise gr.Error(str(error), print_exception=False) from error


class Page(AnsweringPage, gr.Interface):
    """A page that answers in words, and only through its queue."""


def build_page() -> gr.Interface:
    """The page."""
    page = Page(
        measure,
        inputs=[gr.Image(label="Predicted frame", type="numpy"), gr.Image(label="Recorded frame", type="numpy")],
        outputs=gr.JSON(label="Errors and similarities"),
        title="Video prediction",
        description=METRIC.description,
        api_name="measure",
        flagging_mode="never",
    )
    return page.queue()


if __name__ == "__main__":
    build_page().launch()
