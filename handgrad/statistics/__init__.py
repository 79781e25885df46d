"""What a class's reports say together."""
