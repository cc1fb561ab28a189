"""Train the model that reads actions from frames: `accelerate launch trainers/inverse.py pusht/inverse`."""

import sys

from rlvr_world_hf.commands.cli import main


sys.exit(main(["inverse", *sys.argv[1:]]))
