"""The demo: a task that the base model cannot do and a small adapter can."""
