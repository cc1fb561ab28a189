"""Train the world model by likelihood: `accelerate launch trainers/pretrain.py pusht/quickstart`."""

import sys

from rlvr_world_hf.commands.cli import main


sys.exit(main(["pretrain", *sys.argv[1:]]))
