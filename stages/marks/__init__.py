"""Columns by which one stage marks rows and another reads them; the stage that drops marked rows."""
