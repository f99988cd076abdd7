"""Cases of the law test, one file per stage, named as its entry point."""
