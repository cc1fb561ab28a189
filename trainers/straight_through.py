"""Train by gradients through rewards, for as long as RL took: `accelerate launch trainers/straight_through.py ...`."""

import sys

from rlvr_world_hf.commands.cli import main


sys.exit(main(["straight_through", *sys.argv[1:]]))
