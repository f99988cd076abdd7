"""The word splitter: datatrove's spaCy tokenizers, compiled, with the tables that they read."""
