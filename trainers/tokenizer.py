"""Train the visual tokenizer: `accelerate launch trainers/tokenizer.py pusht/quickstart`."""

import sys

from rlvr_world_hf.commands.cli import main


sys.exit(main(["tokenizer", *sys.argv[1:]]))
