"""The command line, and the places where runs are launched."""
