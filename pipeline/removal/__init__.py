"""Taking documents out of a finished run: new versions of its outputs that hold no trace of them."""
