"""tgtd's in-memory twin.

`twin` takes requests; `target`, `unit` and `bound` are what it has, each with the rules of the real
one, `text` is how it prints them, `failure` what a request may end in.
"""

from storlever.tgtd.memory.bound import Bound
from storlever.tgtd.memory.twin import MemoryTgtd
from storlever.tgtd.memory.unit import Unit

__all__ = ["Bound", "MemoryTgtd", "Unit"]
