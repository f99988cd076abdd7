"""Tests against real services on this machine: an S3 server, Azurite. Run by `make test-cluster`."""
