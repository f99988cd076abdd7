"""Reading labelled texts, for the evaluations of several stages (language, toxicity) and the reference text of
quality."""
