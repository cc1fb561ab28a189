from .simulator import collect_episode as collect_episode
from .simulator import collect_episodes as collect_episodes
