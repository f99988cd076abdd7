"""Web archives as they are stored: WARC records and the answers of servers in them. For the sources and for captured files."""
