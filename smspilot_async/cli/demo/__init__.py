"""smspilot demo: a plain loop against the library, on the emulator."""
