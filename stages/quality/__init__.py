"""Quality by rules: signals, rules, thresholds by language, and their adaptation to a new language."""
