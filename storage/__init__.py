"""What happened: studies, trials and measurements in one SQL database. No torch, no ray."""
