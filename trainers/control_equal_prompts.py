"""
Continue likelihood training on as many prompts as RL drew: `accelerate launch trainers/control_equal_prompts.py
pusht/debug`.
"""

import sys

from rlvr_world_hf.commands.cli import main


sys.exit(main(["control_equal_prompts", *sys.argv[1:]]))
