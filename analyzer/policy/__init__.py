"""What the user writes: the policy's model, its file, and what can be said about both without a cluster."""
