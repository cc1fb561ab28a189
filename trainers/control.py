"""Continue likelihood training as long as RL took: `accelerate launch trainers/control.py pusht/quickstart`."""

import sys

from rlvr_world_hf.commands.cli import main


sys.exit(main(["control", *sys.argv[1:]]))
