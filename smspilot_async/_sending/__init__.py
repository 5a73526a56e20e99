"""From a caller's message to its outcome: packing, packets on their way, bulk runs."""
