"""`ports.Cluster` over kubernetes-asyncio, of which only connection, credentials and requests are used.

Its typed models block the loop for long lists, its `Watch` hands on an HTML page as an event and its `DynamicClient` takes
a 409 for an answer; so paths, bodies and failures are our own. Importing it takes two seconds: import this package late.
"""

from analyzer.adapters.kube.cluster import KubeCluster
from analyzer.adapters.kube.config import Credentials, CredentialsInvalid, connect

__all__ = ["Credentials", "CredentialsInvalid", "KubeCluster", "connect"]
