"""Requests and responses, as the OpenAPI document shows them; the browser's types are made from these.

Events, the configuration, and the reports of other rooms are used as they are. Sizes are in bytes, durations in
seconds, points in time in seconds since the epoch.
"""
