"""What votes and distances are worth, measured where the labels are known."""
