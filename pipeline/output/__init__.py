"""What people see: tables, lines, JSON and progress."""
