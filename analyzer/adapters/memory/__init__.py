"""An API server in memory, for the sandbox and for tests."""

from analyzer.adapters.memory.cluster import KINDS, MemoryCluster
from analyzer.adapters.memory.store import Admission, Verb

__all__ = ["KINDS", "Admission", "MemoryCluster", "Verb"]
