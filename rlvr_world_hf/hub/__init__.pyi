from .bundled import bundled_names as bundled_names
from .bundled import bundled_path as bundled_path
from .cards import card_text as card_text
from .checkpoint import load_world_model as load_world_model
from .checkpoint import save_world_model as save_world_model
from .convert import from_official as from_official
from .convert import to_official as to_official
from .push import push_checkpoint as push_checkpoint
