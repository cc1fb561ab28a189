"""Train the world model with verifiable rewards: `accelerate launch trainers/grpo.py pusht/quickstart`."""

import sys

from rlvr_world_hf.commands.cli import main


sys.exit(main(["grpo", *sys.argv[1:]]))
