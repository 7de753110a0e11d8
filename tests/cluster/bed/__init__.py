"""A real Istio cluster in one network namespace, without containers: see README.md beside this package."""
