"""The paired experiment: a plan, its runs, statistics, a report. Knows no engine."""
