"""The asyncio client for the SMS gateway SMSPILOT.RU."""
