"""A training that reports to trackio, in a process of its own: trackio reads its place once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


READ = (
    "import json; from trackio.sqlite_storage import SQLiteStorage; "
    "print(json.dumps(SQLiteStorage.get_logs('worlds', 'first')))"
)


def run_with_trackio(module: str, folder: Path, repository: Path, **settings: Any) -> list[dict[str, Any]]:
    """Calls `train` of a test module in `folder`/run; trackio's server, database and files are in `folder`/trackio."""
    environment = os.environ | {"TRACKIO_DIR": str(folder / "trackio"), "PYTHONPATH": str(repository)}
    settings |= {"report_to": "trackio", "project": "worlds", "run_name": "first"}
    training = f"from pathlib import Path; from {module} import train; train(Path('run').resolve(), **{settings!r})"
    how: dict[str, Any] = {"env": environment, "cwd": folder, "check": True, "capture_output": True, "timeout": 240}
    subprocess.run([sys.executable, "-c", training], **how)
    return json.loads(subprocess.run([sys.executable, "-c", READ], **how).stdout)
