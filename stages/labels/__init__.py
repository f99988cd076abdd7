"""Language labels such as `por_Latn`: one table from every model's codes. Shared by language, quality and toxicity."""
