"""How an output comes to be: shards, ledgers, dropped texts, shuffles, card, manifest."""
