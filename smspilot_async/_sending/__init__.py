"""From a caller's message to its outcome: batching, submission of packets, bulk runs."""
