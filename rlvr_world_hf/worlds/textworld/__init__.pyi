from .games import collect_transitions as collect_transitions
