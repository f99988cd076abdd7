"""A slice's rows on their way through the nodes: read, routed, annotated."""
