"""The gateway itself, without a socket: accounts, validation, pipeline, store, faults."""
