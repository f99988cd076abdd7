"""What made a corpus: content digests, accounts, footer logs, ledgers and manifests."""
