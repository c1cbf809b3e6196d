"""What callers hold: a run of many ids, or a call for one."""
