"""The stages: one module each, with its configuration, its functions and the source that it follows."""
