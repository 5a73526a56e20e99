"""What a user copies: two services and a script, each run by the tests as it stands."""
