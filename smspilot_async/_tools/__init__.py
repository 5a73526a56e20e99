"""Tools that every package may use and that are independent of the gateway: time, files, streams, argument checks."""
