"""The quickstart: the small web that ships with Gristmill, its summary, and its score against what is right."""
