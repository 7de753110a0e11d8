"""`status`, `explain` and the requests, on policies that the real loop left in an in-memory cluster."""
