"""Tests of where jobs go: Ray Jobs, Slurm, Kubernetes."""
