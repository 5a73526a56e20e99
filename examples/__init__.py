"""Programs to copy: two services and a script, each run by the tests unchanged."""
