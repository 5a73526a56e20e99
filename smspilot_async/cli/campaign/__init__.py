"""``smspilot campaign``: lists imported into a ledger, looked at, approved, sent in waves, and reported."""
