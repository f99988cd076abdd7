"""What every command prints with: tables, numbers, progress."""
