from .cards import CardResults as CardResults
from .cards import CardSubject as CardSubject
from .cards import card_text as card_text
from .checkpoint import load_world_model as load_world_model
from .checkpoint import save_world_model as save_world_model
from .convert import from_official as from_official
from .convert import to_official as to_official
from .push import push_checkpoint as push_checkpoint
