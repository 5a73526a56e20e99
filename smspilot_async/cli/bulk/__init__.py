"""smspilot bulk: a list in, results and a journal out."""
