"""What is kept of a course: nbgrader's gradebook, the record of every mark, and the copies of both."""
