"""Where documents come from: formats and texts that a run can read besides the user's own files."""
