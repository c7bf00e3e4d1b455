"""The processes that compute: train, measure, answer, inspect, try rewards, settle plans."""
