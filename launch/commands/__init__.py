"""One module per command: what it reads, what it prints, what it returns. Nothing heavy is imported before a command
runs."""
