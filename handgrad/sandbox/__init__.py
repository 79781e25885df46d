"""The sandbox from outside: how it is built, what goes in, and what is let out of it."""
