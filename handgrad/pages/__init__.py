"""What people read: tables, feedback pages and the class report, in the course's language."""
