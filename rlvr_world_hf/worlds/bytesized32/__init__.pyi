from .records import RecordedTransitions as RecordedTransitions
from .records import read_hub_rows as read_hub_rows
