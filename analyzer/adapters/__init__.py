"""The ports, implemented: one module or package per outside system."""
