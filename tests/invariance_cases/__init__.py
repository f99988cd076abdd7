"""Cases of the test of partition invariance, one file per stage, named as its entry point."""
