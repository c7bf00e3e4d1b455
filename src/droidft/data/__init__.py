"""Training data: files -> rows -> tokens and mask, with every check before a model is loaded.

readers   files -> records        conversation, rows   records -> rows
masks     who writes what         encode               rows -> tokens and mask
prepare   both sets and a report  check                the same without a tokenizer
"""

from __future__ import annotations

from droidft.data.check import FileCheck, StructureReport, check_structure
from droidft.data.hub import fetch_dataset
from droidft.data.prepare import Prepared, prepare, read_set
from droidft.data.statistics import DataReport, SetStatistics
from droidft.data.tokens import TokenizedRow, TokenSet
from droidft.data.view import Piece, RowView, State, view_rows
from droidft.support.faults import Fault, InvalidData

__all__ = [
    "DataReport",
    "Fault",
    "FileCheck",
    "InvalidData",
    "Piece",
    "Prepared",
    "RowView",
    "SetStatistics",
    "State",
    "StructureReport",
    "TokenSet",
    "TokenizedRow",
    "check_structure",
    "fetch_dataset",
    "prepare",
    "read_set",
    "view_rows",
]
