"""What became of messages: checks, tracking, and the rules that statuses follow."""
