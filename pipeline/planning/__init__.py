"""From YAML to a plan: config, graph, passes, slices, and the checks before any work."""
