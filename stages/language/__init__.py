"""Language identification: backends, calibration, close languages, evaluation."""
