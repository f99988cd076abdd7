"""Text from web pages: the stage `extract`, the parsers that run in a process of their own, and what is counted before them."""
