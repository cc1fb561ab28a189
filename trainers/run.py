"""Run a whole recipe: `accelerate launch trainers/run.py pusht/quickstart`."""

import sys

from rlvr_world_hf.commands.cli import main


sys.exit(main(["run", *sys.argv[1:]]))
