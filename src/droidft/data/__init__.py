"""Training data: files -> rows -> tokens and mask, with every check before a model is loaded.

readers   files -> records        conversation, rows   records -> rows
masks     who writes what         encode               rows -> tokens and mask
prepare   both sets and a report  check                the same without a tokenizer
"""
