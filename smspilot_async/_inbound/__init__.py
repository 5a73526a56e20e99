"""What people send to the account: the listener, and the cursor that survives a restart."""
