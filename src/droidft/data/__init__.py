"""Training data: files -> rows -> tokens and mask, with every check before a model is loaded.

sources   a reference -> files              readers   files -> records
rows      records -> rows                   conversation   turns -> a conversation
codec     a conversation -> text, turns     tokens    rows -> tokens and mask, in compact sets
prepare   all of it, and a report           check     every check of a data set
prompts   data for rewards                  preferences   pairs of answers
batches   which set, which order            report    what checks report, as shapes that import nothing heavy
"""
