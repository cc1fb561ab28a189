from .record import Rollout as Rollout
from .sampling import draw_uniforms as draw_uniforms
from .sampling import rollout as rollout
from .sampling import sample_completions as sample_completions
