"""Many submissions: which are due, marked side by side, kept one by one."""
