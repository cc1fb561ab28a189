"""The record of a campaign and its table, between the markers of docs/reliability.md."""

import json
import re
from pathlib import Path
from typing import Any

from rlvr_world_hf.evaluation.provenance import commit, machine
from tests.robust.campaign import KINDS, Tally


DOCS = Path(__file__).resolve().parents[2] / "docs"
RECORD, PAGE = DOCS / "reliability.json", DOCS / "reliability.md"
COLUMNS = ("tried", *KINDS, "skipped")
BEGIN, END = "<!-- campaign -->", "<!-- end of campaign -->"


def record_of(tallies: dict[str, Tally], seconds: dict[str, float], *, seed: int) -> dict[str, Any]:
    """What is written down of a campaign: of each subject, where and when it was tried and what came of it."""
    return {
        name: {
            **tally.counts(),
            "commit": commit(),
            "machine": machine(),
            "seed": seed,
            "seconds": round(seconds[name]),
            "faults": [{"kind": fault.kind, "case": fault.case, "what": fault.what} for fault in tally.faults],
            "reasons": dict(tally.skipped),
        }
        for name, tally in tallies.items()
    }


def table_of(record: dict[str, Any]) -> str:
    """The table of a record, with the reasons of what was skipped below it."""
    lines = [f"| subject | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
    for name, of in record.items():
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(f'{of[column]:,}' for column in COLUMNS)} |")
    reasons = [
        f"- {name.replace('_', ' ')}, {count} skipped: {reason}."
        for name, of in record.items()
        for reason, count in of["reasons"].items()
    ]
    lines += ["", *([*reasons, ""] if reasons else [])]
    sources = sorted({f"commit `{of['commit'][:10]}`, seed {of['seed']}, {of['machine']}" for of in record.values()})
    seconds = sum(of["seconds"] for of in record.values())
    lines.append(f"{seconds:,} seconds of computing in all; {'; '.join(sources)}.")
    return "\n".join(lines)


def write_page(record: dict[str, Any]) -> None:
    """Write what some subjects found beside what the others did, and the table into the page."""
    kept = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    record = dict(sorted({**kept, **record}.items()))
    RECORD.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    between = f"{BEGIN}\n\n{table_of(record)}\n\n{END}"
    PAGE.write_text(
        re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: between, page, flags=re.DOTALL), encoding="utf-8"
    )
