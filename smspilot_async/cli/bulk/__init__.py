"""smspilot bulk: a list in, a ledger while it is sent, results out."""
