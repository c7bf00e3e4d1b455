"""The protocol between the application and its child processes: inner half, outer half."""
