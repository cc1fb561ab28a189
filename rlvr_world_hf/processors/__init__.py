"""
In: frames, sensors or text, and actions of a transition; completions of a model.
Out: token ids with their layout and masks; decoded states.
Never: rewards, or any file outside this room: its files travel to the Hub alone.
"""

from transformers import AutoProcessor

from .base import WorldModelProcessor as WorldModelProcessor
from .bins import UniformBins as UniformBins
from .layout import TokenLayout as TokenLayout
from .sensor import SensorWorldModelProcessor as SensorWorldModelProcessor
from .step_blocks import StepBlockProcessor as StepBlockProcessor
from .text import LanguageWorldModelProcessor as LanguageWorldModelProcessor
from .video import VideoWorldModelProcessor as VideoWorldModelProcessor


# `AutoProcessor` looks a class up by the name in `processor_config.json`, among those registered. The key is the class
# itself, since our processors have no class of settings and those of the transformer (Llama's) are not ours to claim.
for _processor in (SensorWorldModelProcessor, LanguageWorldModelProcessor, VideoWorldModelProcessor):
    AutoProcessor.register(_processor, _processor, exist_ok=True)
