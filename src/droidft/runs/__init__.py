"""Run folders: settings, events, derived state; starting, following and ending workers."""
