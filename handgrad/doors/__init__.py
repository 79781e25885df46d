"""How people come in: the commands, and what each of them does."""
