"""What a query costs: CPU time, memory, stalls, processes, and Ray."""
