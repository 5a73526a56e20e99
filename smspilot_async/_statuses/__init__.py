"""Delivery statuses of messages: checks, tracking, and the rules for statuses."""
