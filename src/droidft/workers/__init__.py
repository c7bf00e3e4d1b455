"""The processes that compute: train, measure, answer, inspect, try rewards, settle plans."""

from droidft.home import Home
from droidft.support.imports import remember_transformers

remember_transformers(lambda: Home.find().cache)
