"""Presets: one YAML file each, found by `gristmill run NAME`."""
