"""What the server says and takes, as the OpenAPI document shows it; the browser's types are made from these.

What a run says (`events.py`) and what it is told (`config.py`) is used as it is. Sizes are in bytes, durations in
seconds, points in time in seconds since the epoch.
"""
