"""How well a world model says what an action changes on a web page, as an `evaluate` metric."""

import datasets
import evaluate

from rlvr_world_hf.rewards import PageChangeReward
from rlvr_world_hf.worlds.web.change import parse_page_change


DESCRIPTION = """\
F1 of the new, deleted and updated elements of a web page that a world model predicts. The numbers are those of the
verifiable reward of RLVR-World (https://huggingface.co/papers/2505.13934, section 4.2), with which it was trained.
"""

INPUTS = """
Args:
    predictions (`list` of `str`): answers of the model: sections `New items:`, `Deleted items:` and `Updated items:`,
        an element a line, `None` for no element.
    references (`list` of `str`): the recorded changes, in the same form.
    parity (`bool`, *optional*, defaults to `False`): whether to give the numbers of the authors' code, to compare with
        the paper's; a reference without any section then gives 0.

Returns:
    `dict[str, float]`: `f1`, in [0, 1], the mean over pages, higher is better; and `parse_failure`, the share of
    answers without any section, whose F1 is 0.

Raises:
    ValueError: if there are no answers, or a reference has no section; it says which.

Examples:

    >>> metric = evaluate.load("spaces/web_page_f1")
    >>> recorded = "New items:\\nNone\\n\\nDeleted items:\\n[3] button 'Save'\\n\\nUpdated items:\\n[2] link 'Cart'"
    >>> metric.compute(predictions=[recorded, "Nothing."], references=[recorded, recorded])
    {'f1': 0.5, 'parse_failure': 0.5}
"""


class WebPageF1(evaluate.Metric):
    __doc__ = DESCRIPTION + INPUTS

    def _info(self):
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features({name: datasets.Value("string") for name in ("predictions", "references")}),
            reference_urls=["https://huggingface.co/papers/2505.13934"],
        )

    def _compute(self, predictions, references, parity=False):
        if not predictions:
            raise ValueError("Expected at least one answer, got none.")
        for index, text in enumerate(() if parity else references):
            try:
                parse_page_change(text)
            except ValueError as error:
                raise ValueError(
                    f"`references[{index}]` is no recorded change: {error} Where nothing changes, write `None` below "
                    "each section."
                ) from error
        values, readable = PageChangeReward(parity=parity).metric(predictions, ground_truth=references)
        return {"f1": sum(values) / len(values), "parse_failure": 1 - sum(readable) / len(readable)}
