"""`ports.Cluster` over kubernetes-asyncio, of which only connection, credentials and requests are used.

Its typed models block the loop for long lists, its `Watch` hands on an HTML page as an event and its `DynamicClient` takes
a 409 for an answer; so paths, bodies and failures are our own. Importing it
still takes a third of a second: import this package late.
"""

from analyzer.adapters.kube.cluster import KubeCluster
from analyzer.adapters.kube.config import Context, Credentials, CredentialsInvalid, connect, read_context

__all__ = ["Context", "Credentials", "CredentialsInvalid", "KubeCluster", "connect", "read_context"]
