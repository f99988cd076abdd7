"""Reading labelled texts and figures of classifiers, for the evaluations of several stages (language, toxicity, classifier)
and the reference text of quality."""
