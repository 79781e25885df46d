"""What runs inside the sandbox, beside the student's code: it knows no reference and no mark."""
