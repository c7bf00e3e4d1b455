"""Questions to child processes: answers, inspections, jobs."""
