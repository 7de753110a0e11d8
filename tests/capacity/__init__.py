"""How good the rollback planner is: random services with a stable version that has shrunk, played by a model of its own."""
