"""The engine: slices, graphs, passes, executors, provenance and audit; it knows no stage by name."""

__version__ = "0.1.0"
