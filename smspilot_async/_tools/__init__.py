"""What every room may use, and what knows nothing of the gateway: time, files, streams, checks of arguments."""
