"""
In: frames, sensors or text, and actions of a transition; completions of a model.
Out: token ids with their layout and masks; decoded states.
Never: rewards, or any file outside this room: its files travel to the Hub alone.
"""

from .base import WorldModelProcessor as WorldModelProcessor
from .bins import UniformBins as UniformBins
from .layout import TokenLayout as TokenLayout
from .sensor import SensorWorldModelProcessor as SensorWorldModelProcessor
from .step_blocks import StepBlockProcessor as StepBlockProcessor
from .text import LanguageWorldModelProcessor as LanguageWorldModelProcessor
from .video import VideoWorldModelProcessor as VideoWorldModelProcessor
