"""What looks after a vault that runs unattended."""
