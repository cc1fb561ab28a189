"""
In: frames in [0, 1], and the context frames they continue.
Out: codes of those frames, and frames of codes.
Never: actions, prompts or any file outside this room: its files travel to the Hub alone.
"""

from .fsq import FiniteScalarQuantizer as FiniteScalarQuantizer
from .modeling_compressive_tokenizer import CompressiveTokenizer as CompressiveTokenizer
from .modeling_frame_tokenizer import FrameTokenizer as FrameTokenizer
