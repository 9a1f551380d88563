"""What people look at: terminal output and plots."""
