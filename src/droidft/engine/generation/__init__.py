"""Answers: streamed and in batches."""
