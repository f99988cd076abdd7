"""Where a run goes when it leaves this machine: Ray Jobs, Slurm, Kubernetes; what travels there, and how it is found again."""
