"""smspilot doctor: what sending needs, checked one by one."""
