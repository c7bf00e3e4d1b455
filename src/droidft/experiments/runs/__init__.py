"""An experiment's folder and its runs: which is next, how far all are."""
